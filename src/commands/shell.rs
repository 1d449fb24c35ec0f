//! What a shell and `man` know of the programs.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Arguments, ProxyArguments};
use crate::exit::Failure;

/// Prints a shell's completions of both programs.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    for mut command in [Arguments::command(), ProxyArguments::command()] {
        let name = command.get_name().to_owned();
        clap_complete::generate(shell, &mut command, name, &mut script);
    }
    std::io::stdout().write_all(&script).map_err(|why| Failure::Failed(why.to_string()))
}

/// Writes a page for each program and each of its commands.
pub fn man(folder: &Path) -> Result<(), Failure> {
    let fail = |why: std::io::Error| Failure::Failed(format!("{}: {why}", folder.display()));
    std::fs::create_dir_all(folder).map_err(fail)?;
    for command in [Arguments::command(), ProxyArguments::command()] {
        clap_mangen::generate_to(command, folder).map_err(fail)?;
    }
    Ok(())
}
