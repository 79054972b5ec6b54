//! Owns the asking of terragrunt about a checkout: as the server asks it, confined and on a private copy.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use secrecy::SecretBox;

use crate::cli::checkout::Checkout;
use crate::cli::environment::Environment;
use crate::cli::temporary::Temporary;
use crate::domain::located::Located;
use crate::process::OwnBinary;
use crate::process::confine::{Confine, tried};
use crate::source::terragrunt::generated::of_tree;
use crate::source::terragrunt::{is_unit_file, read_lightly};
use crate::source::{Kind, Tree};
use crate::tool::program::Tools;
use crate::tool::site::{self, Site};
use crate::tool::terragrunt::ask::{Bounds, Place, ask};

/// The exit code of an answer from which stacks or edges may be missing.
pub const INCOMPLETE: u8 = 3;

/// More than this is not copied for terragrunt.
const MOST_COPIED: u64 = 1 << 30;

/// Whether terragrunt is asked.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// Do not start terragrunt: what the text of its files tells is all that is known of its units
    #[arg(long)]
    no_terragrunt: bool,
}

/// What terragrunt is asked with.
pub struct Asker<'a> {
    pub asked: &'a Asked,
    pub environment: &'a Environment,
    pub own: &'a OwnBinary,
}

impl Asker<'_> {
    /// What terragrunt is started with. `Err`: why it is not asked. It runs what the repository says (`run_cmd`), and
    /// here it would do so as the person who looks at that repository: only where it can be confined altogether, unless
    /// `LOCKKEEPER_CONFINE` says what the server's setting of this name says.
    pub async fn site(&self) -> Result<Site, Located> {
        let unasked = |why: String, hint: &str| {
            let problem = format!("{why}: its units are read as plain text, and stacks and edges may be missing");
            Located::nowhere(problem).hint(hint)
        };
        if self.asked.no_terragrunt {
            return Err(unasked(
                "terragrunt was not asked".to_owned(),
                "leave out --no-terragrunt",
            ));
        }
        let tools = Tools::find(&self.environment.path());
        if tools.terragrunt().is_none() {
            let why = "terragrunt is not on the PATH".to_owned();
            return Err(unasked(why, "install it, or ask where it is installed"));
        }
        let confine = match self
            .environment
            .var("LOCKKEEPER_CONFINE")
            .and_then(|value| value.to_str())
        {
            Some("auto") => Confine::Auto,
            Some("off") => Confine::Off,
            Some(_) | None => Confine::Required,
        };
        if confine == Confine::Required {
            let why = match tried(self.own).await {
                Ok(support) => support.missing_for_required(),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = why {
                let why = format!("terragrunt was not asked, since it runs what the repository says ({why})");
                return Err(unasked(
                    why,
                    "where that may do what you may do, set LOCKKEEPER_CONFINE=auto",
                ));
            }
        }
        let place = site::Place {
            own: self.own.clone(),
            tools,
            // Nothing of this is used by a question.
            data: "/nonexistent".into(),
            github: "https://github.com".parse().expect("a URL"),
            hash_key: SecretBox::new(Box::new([0; 32])),
        };
        Ok(Site {
            confine,
            ..Site::new(place)
        })
    }

    /// Asks about the files of a checkout, and puts the answer to them. What is given: why the units were read as plain
    /// text.
    pub async fn fill(&self, checkout: &Checkout, files: &mut Tree) -> Option<Located> {
        if !files.entries.keys().any(is_unit_file) {
            return None;
        }
        let site = match self.site().await {
            Ok(site) => site,
            Err(why) => return Some(why),
        };
        match self.answer(&site, checkout, files).await {
            Ok(units) => files.units = units.map(Arc::new),
            Err(error) => {
                let problem = format!("terragrunt was not asked: could not {error:#}");
                return Some(Located::nowhere(problem));
            }
        }
        read_lightly(files)
    }

    async fn answer(
        &self,
        site: &Site,
        checkout: &Checkout,
        files: &Tree,
    ) -> anyhow::Result<Option<crate::domain::unit::Units>> {
        let temporary = Temporary::new(self.environment)?;
        let place = Place {
            tree: temporary.path().join("tree"),
            scratch: temporary.path().join("scratch"),
        };
        copy(checkout.root(), files, &place.tree).context("copy the checkout for it")?;
        Ok(ask(site, &place, &Bounds::default(), &of_tree(files).templates).await)
    }
}

/// The program writes beside the units, and reads what lies there.
fn copy(root: &Path, files: &Tree, to: &Path) -> anyhow::Result<()> {
    let mut room = MOST_COPIED;
    std::fs::create_dir_all(to)?;
    for (path, entry) in files.entries.iter() {
        let (from, to) = (root.join(path.as_str()), to.join(path.as_str()));
        std::fs::create_dir_all(to.parent().context("leave the root out")?)?;
        match entry.kind {
            Kind::Submodule => std::fs::create_dir_all(to)?,
            Kind::Symlink => std::os::unix::fs::symlink(std::fs::read_link(from)?, to)?,
            Kind::File | Kind::Executable => {
                let size = from.symlink_metadata()?.len();
                room = room
                    .checked_sub(size)
                    .context("stay within 1 GiB: it is larger than what is copied")?;
                std::fs::copy(from, to)?;
            }
        }
    }
    Ok(())
}
