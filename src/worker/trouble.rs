//! Owns how an error of a job stands in the log: its causes in one line, what GitHub answered, and no backtrace.

use crate::github::error::GithubError;

/// For the log alone: people read sentences.
pub fn in_log(error: &anyhow::Error) -> String {
    // anyhow's own Debug adds a backtrace of many lines to what is no bug.
    let mut line = format!("{error:#}");
    let said = error.chain().find_map(|cause| cause.downcast_ref::<GithubError>());
    if let Some(github) = said {
        line = format!("{line} ({})", github.detail());
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let error: anyhow::Result<()> = Err(anyhow::anyhow!("the disk\nis full"));
        let error = error.context("write a plan").expect_err("an error");
        assert_eq!(in_log(&error), "write a plan: the disk is full");
    }

    #[test]
    fn what_github_answered_is_part_of_it() {
        let error = anyhow::Error::from(GithubError::unsaid("it is not known"));
        let line = in_log(&error.context("look"));
        assert_eq!(
            line,
            "look: GitHub refused: it is not known (none got no answer: it is not known)"
        );
    }
}
