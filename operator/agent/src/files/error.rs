//! What can go wrong with files on a node, and what its owner can do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::hosts_toml::MergeError;

/// Why a file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What we were about to do.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody's hosts.toml that our host cannot be put into.
    #[error("cannot add our host to {}", path.display())]
    Merge {
        /// That file.
        path: PathBuf,
        /// Why not.
        source: MergeError,
    },
    /// A symbolic link, which replacing would destroy.
    #[error("{} is a symbolic link, which would be lost", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A directory, pipe or device where a file should be, or a file where a directory should be.
    #[error("{} is no {wanted}", path.display())]
    WrongKind {
        /// What it is called.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// A file of a size that no hosts.toml has.
    #[error("{} is larger than 1 MiB", path.display())]
    TooLarge {
        /// That file.
        path: PathBuf,
    },
    /// A file of another user, which the agent could not give back to them.
    #[error("{} would have to belong to user {user} and group {group}", path.display())]
    Owner {
        /// The file that could not be given to them.
        path: PathBuf,
        /// Whose it is.
        user: u32,
        /// Of which group it is.
        group: u32,
    },
    /// Certificates that a file of ours would hide from the runtime, or break pulls by naming (design N1).
    #[error("{} holds certificates, which a file of ours would hide", directory.display())]
    Certificates {
        /// Where they are: the registry's directory or `_default`.
        directory: PathBuf,
    },
    /// A file of our name in registries.conf.d that is somebody's.
    #[error("{} is not the agent's", path.display())]
    NotOurs {
        /// That file.
        path: PathBuf,
    },
    /// Our file in registries.conf.d, which somebody edited: nothing is changed in it any more.
    #[error("{} was edited, and does not mirror this registry", path.display())]
    Edited {
        /// That file.
        path: PathBuf,
    },
    /// A file of registries.conf speaks of the same images; a table of ours would replace theirs.
    #[error("{} has a [[registry]] for {prefix}, which one of ours would replace", path.display())]
    Claimed {
        /// That file.
        path: PathBuf,
        /// Its images.
        prefix: String,
    },
    /// Our file in registries.conf.d cannot be as it should.
    #[error("cannot write {}: {reason}", path.display())]
    DropIn {
        /// That file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Files of ours are in another directory of the node, and somebody's originals belong there.
    #[error("files of ours are in {} still", was.display())]
    DirectoryChanged {
        /// What the node calls that directory.
        was: PathBuf,
    },
    /// Another agent writes on this node.
    #[error("another agent holds {}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

impl FileError {
    /// An error that names what was done to what.
    pub fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }

    /// Whether only the node's owner can change it; otherwise trying again may help.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
            }
            Self::Merge { .. } | Self::Link { .. } | Self::WrongKind { .. } | Self::TooLarge { .. } => true,
            Self::NotOurs { .. } | Self::Edited { .. } | Self::Claimed { .. } | Self::DropIn { .. } => true,
            Self::Owner { .. } | Self::Certificates { .. } | Self::DirectoryChanged { .. } => true,
            Self::Locked { .. } => false,
        }
    }

    /// The reason in CamelCase, for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem => "ReadOnlyFileSystem",
                io::ErrorKind::PermissionDenied => "PermissionDenied",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "DiskFull",
                io::ErrorKind::NotFound => "DirectoryMissing",
                _ => "FileSystemError",
            },
            Self::Merge { .. } => "ForeignFileNotMergeable",
            Self::Link { .. } => "SymbolicLink",
            Self::WrongKind { .. } => "NotRegularFile",
            Self::TooLarge { .. } => "FileTooLarge",
            Self::Owner { .. } => "FileOwner",
            Self::NotOurs { .. } => "ForeignFile",
            Self::Edited { .. } => "EditKept",
            Self::Claimed { .. } => "RegistryConfiguredElsewhere",
            Self::DropIn { .. } => "DropInNotWritten",
            Self::Certificates { .. } => "CertificatesInDirectory",
            Self::DirectoryChanged { .. } => "RegistryDirChanged",
            Self::Locked { .. } => "AnotherAgent",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it so that it can be written (agent.registryDir, agent.stateDir), configure the mirror http://127.0.0.1 with the node's own means (machine configuration), or exclude the node with label tidepool.dev/exclude=true"
                }
                io::ErrorKind::PermissionDenied => {
                    "let the agent's pod write there (uid 0; on SELinux hosts set agent.seLinuxOptions), or exclude the node with label tidepool.dev/exclude=true"
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free space on the node, or inodes (df -h, df -i)"
                }
                io::ErrorKind::NotFound => "create the directory on the node, or correct the agent's mounts",
                _ => "look at the node's file system",
            },
            Self::Merge { source, .. } => source.remedy(),
            Self::NotOurs { .. } => "rename it",
            Self::Edited { .. } => "remove the file to have it written again",
            Self::Claimed { .. } => {
                "add the mirror 127.0.0.1:<agent.port>/<registry> to that table, or remove the table"
            }
            Self::DropIn { .. } => "take the registry out of the mirror for this node, or see what the message names",
            Self::Certificates { .. } => {
                "write a hosts.toml that names them in the registry's own directory: the agent puts its host into that"
            }
            Self::DirectoryChanged { .. } => {
                "set agent.registryDir back to it, then nodes.mode: Withdraw on every mirror, and change it when the files are gone"
            }
            Self::Link { .. } => "replace the link with what it points to",
            Self::WrongKind { .. } => "put one there, or remove it",
            Self::TooLarge { .. } => "look at what is in it, and remove it",
            Self::Owner { .. } => {
                "give the registry's hosts.toml to root (chown root:root): the agent has no capability to restore another owner"
            }
            Self::Locked { .. } => "wait until it has ended, or delete the DaemonSet first",
        }
    }

    /// The error with its cause and the remedy, as one message for people.
    #[must_use]
    pub fn message(&self) -> String {
        let cause = std::error::Error::source(self).map(|source| format!(": {source}")).unwrap_or_default();
        let cause = cause.lines().next().unwrap_or_default();
        format!("{self}{cause}; {}", self.remedy())
    }
}
