//! A stand-in registry as tests use it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::image::{Image, ImageSpec};
use crate::machine::Machine;
use crate::stand_in::{self, Request, StandIn};

/// A registry that the cluster takes for a real one.
#[derive(Debug)]
pub struct Registry<'a> {
    control_plane: &'a Machine,
    stand_in: &'a StandIn,
    folder: PathBuf,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(control_plane: &'a Machine, stand_in: &'a StandIn, folder: PathBuf) -> Self {
        Self { control_plane, stand_in, folder }
    }

    /// Makes an image and puts it into the registry, past its front.
    pub fn push(&self, spec: &ImageSpec) -> Result<Image> {
        let name = format!("{}/{}:{}", self.stand_in.name, spec.repository, spec.tag);
        let layout = self.folder.join(format!("push-{}", name.replace(['/', ':'], "_")));
        let image = spec.build(&layout).with_context(|| format!("cannot make {name}"))?;
        let target = format!("127.0.0.1:{}/{}:{}", self.stand_in.backend, spec.repository, spec.tag);
        let pushed = self.control_plane.ok(&["crane", "push", &layout.display().to_string(), &target]);
        fs::remove_dir_all(&layout).context("cannot remove an image that was pushed")?;
        pushed.with_context(|| format!("cannot push {name}"))?;
        Ok(image)
    }

    /// Every request so far, in the order of their ends. A request is logged before its last byte is sent.
    pub fn log(&self) -> Result<Vec<Request>> {
        stand_in::read_log(&self.folder, &self.stand_in.name)
    }

    /// The requests that a piece of a test causes.
    pub fn requests_during<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Request>)> {
        let before = self.log()?.len();
        let result = act()?;
        Ok((result, self.log()?.split_off(before)))
    }

    /// Ends every connection and refuses new ones, from the moment this returns.
    pub fn off(&self) -> Result<()> {
        self.order(&["off", &self.stand_in.name])
    }

    /// Listens again.
    pub fn on(&self) -> Result<()> {
        self.order(&["on", &self.stand_in.name])
    }

    /// Gives a user another password, from the moment this returns; tokens that the old one got are void.
    pub fn set_password(&self, user: &str, password: &str) -> Result<()> {
        self.order(&["password", &self.stand_in.name, user, password])
    }

    /// Answers 429 to every `GET` of a manifest by who is not logged in, as Docker Hub does past its limit.
    pub fn limit_anonymous(&self, limited: bool) -> Result<()> {
        self.order(&[if limited { "limit" } else { "unlimit" }, &self.stand_in.name])
    }

    /// Answers every request for contents with this status, from the moment this returns.
    pub fn fail(&self, status: u16) -> Result<()> {
        self.order(&["fail", &self.stand_in.name, &status.to_string()])
    }

    /// Answers with contents again.
    pub fn serve(&self) -> Result<()> {
        self.order(&["serve", &self.stand_in.name])
    }

    fn order(&self, words: &[&str]) -> Result<()> {
        stand_in::order(&self.folder, words)
    }
}
