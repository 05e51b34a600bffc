//! Tests of the whole: the real binaries as processes, killed, flooded and asked again.
//!
//! [`process`] starts and ends them, and [`cluster`] puts some together. [`crowd`] has producers and a reader at every queue. Its
//! [`history`] knows what was sent, acknowledged and delivered, and says whether what is read afterwards is what may be there.
//! [`foreign`] runs the programs in other languages, [`clients`] builds those with the original clients, [`java`] the Java client beside a group that loses its master, [`spring`] an application with Spring, [`apache`] the original's own servers, and [`dev`] the cluster of a laptop.
//! [`filters`] has random SQL92 expressions. [`net`] has machines with networks of their own, [`etcd`] a real etcd, [`s3`] a real server of buckets, and [`page`] what a page of the documentation shows.

pub mod apache;
pub mod clients;
pub mod cluster;
pub mod crowd;
pub mod dev;
pub mod etcd;
pub mod filters;
pub mod foreign;
pub mod history;
pub mod java;
pub mod net;
pub mod page;
pub mod process;
pub mod s3;
pub mod spring;
