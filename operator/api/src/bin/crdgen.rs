//! `crdgen`: writes the definitions of the resources, for `kubectl` and for the chart; without folders, prints them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use tidepool_api::crds::{self, CrdFile};

/// Writes the definitions of Tidepool's resources
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder of the definitions; without it they are printed
    crds: Option<PathBuf>,
    /// Folder of the chart's templates of them
    chart_templates: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum GenerateError {
    #[error("cannot write the definitions as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

fn main() -> ExitCode {
    match generate(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn generate(args: &Args) -> Result<(), GenerateError> {
    let Some(folder) = &args.crds else {
        for file in crds::files()? {
            println!("---\n{}", file.text);
        }
        return Ok(());
    };
    write(folder, &crds::files()?)?;
    match &args.chart_templates {
        Some(folder) => write(folder, &crds::chart_templates()?),
        None => Ok(()),
    }
}

fn write(folder: &Path, files: &[CrdFile]) -> Result<(), GenerateError> {
    fs::create_dir_all(folder).map_err(|source| GenerateError::Write { path: folder.to_owned(), source })?;
    for file in files {
        let path = folder.join(&file.name);
        fs::write(&path, &file.text).map_err(|source| GenerateError::Write { path, source })?;
    }
    Ok(())
}
