//! Owns which tools are installed, and their versions.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::domain::layout::{Stack, Tool};
use crate::domain::located::Located;
use crate::process::Program;
use crate::process::capture::capture;
use crate::tool::error::{Step, ToolError};
use crate::tool::version::{Version, meets};

/// The tools found on the PATH when the server started.
#[derive(Debug, Default)]
pub struct Tools {
    files: BTreeMap<Tool, PathBuf>,
    terragrunt: Option<PathBuf>,
    versions: Mutex<BTreeMap<PathBuf, (Stamp, Version)>>,
    /// One asks, the others wait for the answer: the first stacks of a server begin together.
    asking: tokio::sync::Mutex<()>,
}

/// Tells whether a program file was replaced.
type Stamp = (Option<SystemTime>, u64);

/// A tool that may run a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub tool: Tool,
    pub file: PathBuf,
    pub version: Version,
}

impl Tools {
    /// Looks for `terraform`, `tofu` and `terragrunt` in a PATH variable's directories, in their order.
    pub fn find(path: &OsStr) -> Self {
        let named = |name: &'static str| {
            let mut candidates = std::env::split_paths(path)
                .filter(|dir| dir.is_absolute())
                .map(|dir| dir.join(name));
            candidates.find(|file| is_program(file))
        };
        let all = [(Tool::Terraform, named("terraform")), (Tool::OpenTofu, named("tofu"))];
        let found = all.into_iter().filter_map(|(tool, file)| Some((tool, file?)));
        Tools {
            files: found.collect(),
            terragrunt: named("terragrunt"),
            versions: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Where each tool is; for `doctor`.
    pub fn files(&self) -> &BTreeMap<Tool, PathBuf> {
        &self.files
    }

    /// Where terragrunt is, if it is installed.
    pub fn terragrunt(&self) -> Option<&Path> {
        self.terragrunt.as_deref()
    }

    /// What changes whenever another terragrunt is installed; no program is started for it.
    pub fn terragrunt_mark(&self) -> Option<String> {
        let file = self.terragrunt.as_deref()?;
        let meta = std::fs::metadata(file).ok()?;
        Some(format!("{} {:?} {}", file.display(), meta.modified().ok(), meta.len()))
    }

    /// The tool of a stack, if it is installed and has a version that the stack allows. Starts a program only the
    /// first time, and when the file was replaced.
    pub async fn allowed_for(&self, stack: &Stack) -> Result<Installed, ToolError> {
        let installed = self.installed(stack.tool).await?;
        check_version(stack, &installed.version)?;
        Ok(installed)
    }

    /// A tool and its version.
    pub async fn installed(&self, tool: Tool) -> Result<Installed, ToolError> {
        let file = self.files.get(&tool).ok_or(ToolError::Missing(tool))?.clone();
        let meta = std::fs::metadata(&file).map_err(|_| ToolError::Missing(tool))?;
        let stamp = (meta.modified().ok(), meta.len());
        if let Some(version) = self.known(&file, stamp) {
            return Ok(Installed { tool, file, version });
        }
        let _turn = self.asking.lock().await;
        if let Some(version) = self.known(&file, stamp) {
            return Ok(Installed { tool, file, version });
        }
        let version = ask_version(&file).await?;
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.insert(file.clone(), (stamp, version.clone()));
        Ok(Installed { tool, file, version })
    }

    fn known(&self, file: &Path, stamp: Stamp) -> Option<Version> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, version) = versions.get(file)?;
        (*of == stamp).then(|| version.clone())
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Reads `{"terraform_version": "1.11.4", …}`; both tools use that name.
async fn ask_version(file: &Path) -> Result<Version, ToolError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        terraform_version: String,
    }
    let program = Program {
        file: file.to_owned(),
        args: vec!["version".into(), "-json".into()],
        // no call home, no settings of whoever started the server
        env: vec![
            ("CHECKPOINT_DISABLE".into(), "1".into()),
            ("HOME".into(), "/nonexistent".into()),
        ],
        cwd: PathBuf::from("/"),
        deadline: Duration::from_secs(30),
    };
    let step = Step::Version;
    let captured = capture(&program, b"", 1 << 20)
        .await
        .map_err(|cause| ToolError::Process { step, cause })?;
    let answer: Answer =
        serde_json::from_slice(&captured.stdout).map_err(|cause| ToolError::Unreadable { step, cause })?;
    let bad = |_| {
        ToolError::refused(
            format!(
                "{} says it has the version {:?}",
                file.display(),
                answer.terraform_version
            ),
            "ask this server's operator to look at it",
        )
    };
    answer.terraform_version.parse().map_err(bad)
}

/// A newer tool would silently upgrade the state, so nothing runs with a version that was not asked for. Constraints
/// that cannot be read are left to the tool itself.
pub fn check_version(stack: &Stack, version: &Version) -> Result<(), ToolError> {
    let tool = stack.tool.word();
    let hint = "change the constraint, or ask this server's operator for that version";
    if let Some(wanted) = &stack.tool_version
        && wanted.parse::<Version>().as_ref() != Ok(version)
    {
        let problem = format!(
            "stack {} asks for {tool} {wanted}, and this server has {version}",
            stack.name
        );
        let located = Located {
            place: stack.defined_at.clone(),
            problem,
            hint: None,
        };
        return Err(ToolError::Refused(located.hint(hint)));
    }
    for constraint in &stack.required_version {
        if meets(&constraint.text, version) == Ok(false) {
            let problem = format!(
                "required_version is {:?}, and this server has {tool} {version}",
                constraint.text
            );
            return Err(ToolError::Refused(
                Located::at(constraint.place.clone(), problem).hint(hint),
            ));
        }
    }
    Ok(())
}
