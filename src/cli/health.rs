//! Owns `lockkeeper health`: asks a running server whether it can work, for a container's healthcheck.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::environment::Environment;
use crate::cli::settings::given::Flags;
use crate::cli::settings::read;
use crate::cli::{say, wrong};

/// Ask the server on this machine whether it is ready. Exit code 0: it is; 1: it is not.
///
/// The address is that of the server's own settings.
#[derive(Debug, Args)]
pub struct HealthArgs {
    #[command(flatten)]
    flags: Flags,
}

const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(args: HealthArgs, environment: &Environment) -> ExitCode {
    let address = match read::local_address(&args.flags, environment) {
        Ok(address) => address,
        Err(bad) => return wrong(bad),
    };
    let said = tokio::time::timeout(PATIENCE, ask(address)).await;
    match said.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        Ok(line) if line.contains(" 200 ") => {
            say("ready");
            ExitCode::SUCCESS
        }
        Ok(line) => {
            say(format_args!("http://{address}/readyz: {line}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(format_args!("http://{address}/readyz: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The first line of the answer. Loopback and one question: no client is needed.
async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let question = format!("GET /readyz HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or("no answer").to_owned())
}
