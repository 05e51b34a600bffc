//! One suite for all places, and what is special to each.
#![allow(
    clippy::print_stderr,
    reason = "a test that cannot run says why to whoever runs it"
)]

/// One test for each function of the suite: `$make` gives the back end, or ends the test where it cannot be had.
macro_rules! tests_of {
    ($make:expr) => {
        tests_of!($make;
            of_many_that_begin_one_wins
            swaps_that_race_lose_nothing
            the_lease_is_taken_renewed_and_released
            a_watch_sees_the_last_state
            a_deleted_record_is_no_record
            a_swap_without_its_answer_is_unknown
            a_member_that_is_cut_off_learns_so
        );
    };
    ($make:expr; $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(back_end) = $make.await else { return };
                crate::suite::$name(&back_end).await;
            }
        )*
    };
}

#[cfg(feature = "etcd")]
mod etcd;
mod memory;
#[cfg(feature = "etcd")]
mod proxy;
mod suite;
