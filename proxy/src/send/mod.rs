//! Bytes of files on their way out, without a copy where that can be.
//!
//! A body yields [`Bytes`](bytes::Bytes). Those that come from [`Lender::lend`] are addresses of a map of the file, which
//! nobody reads: the connection's [`Outlet`] knows them by their address and has the kernel send that part of the file,
//! `sendfile(2)`. hyper passes them on untouched, for it writes with vectors. So bodies, ranges, keep-alive and pipelining
//! are those of any response, and where there is no `Lender`, as under TLS, a body copies into [`buffers`] instead.
//!
//! [`pages`] keeps a slow disk from holding up a worker: what is not in the page cache is brought there by a thread that
//! may block.

pub(crate) mod buffers;
mod lend;
mod map;
mod outlet;
pub(crate) mod pages;

pub(crate) use lend::Lender;
pub(crate) use outlet::Outlet;
