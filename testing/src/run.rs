//! What `#[rmq_testing::test]` calls.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt;

use crate::cluster::{ClusterBuilder, TestCluster};

/// Runs a test with a cluster of its own, in a runtime of its own; both end with it, whatever becomes of the test.
///
/// # Panics
/// When the test does, or the cluster does not start.
pub fn run<F: Future>(cluster: ClusterBuilder, test: impl FnOnce(TestCluster) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the test");
    runtime.block_on(async {
        let cluster = cluster.start().await;
        let ended = AssertUnwindSafe(test(cluster.clone())).catch_unwind().await;
        cluster.shutdown().await;
        match ended {
            Ok(output) => output,
            Err(panic) => resume_unwind(panic),
        }
    })
}
