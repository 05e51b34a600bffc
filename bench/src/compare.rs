//! Two servers, one after the other, again and again: A B A B … Only ratios of neighbours mean something on a machine that
//! others use too.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::apache;
use crate::load::Load;
use crate::page_cache::{DISK_BYTES, PageCache};
use crate::report::{Report, median, number};
use crate::server::{Ready, Server};

/// What to compare.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Command of the first server, see [`Server::start`].
    pub a: String,
    /// Command of the second.
    pub b: String,
    /// Pairs of runs.
    pub pairs: usize,
    /// Where the servers' directories are made; each run's is removed after it.
    pub work_dir: PathBuf,
    /// Fills the page cache before each run.
    pub fill_page_cache: bool,
}

/// The outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What was run.
    pub workload: String,
    /// By figure.
    pub figures: Vec<Figure>,
    /// Every run of A.
    pub a: Vec<Report>,
    /// Every run of B.
    pub b: Vec<Report>,
}

/// One figure of both.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Its name and unit.
    pub name: &'static str,
    /// Median of A.
    pub a: f64,
    /// Median of B.
    pub b: f64,
    /// Median of A / B of each pair; `None` when B has a zero.
    pub ratio: Option<f64>,
    /// Lowest ratio of a pair.
    pub ratio_min: Option<f64>,
    /// Highest ratio of a pair.
    pub ratio_max: Option<f64>,
}

/// Runs all pairs; `progress` hears of each run.
///
/// # Errors
/// When a server does not start or a load cannot run.
pub fn compare(
    plan: &Plan,
    load: &Load,
    mut progress: impl FnMut(&str, &Report),
) -> io::Result<Comparison> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut page_cache = plan
        .fill_page_cache
        .then(|| PageCache::new(&plan.work_dir))
        .transpose()?;
    for pair in 0..plan.pairs {
        for (name, command, reports) in [("A", &plan.a, &mut a), ("B", &plan.b, &mut b)] {
            let dir = plan
                .work_dir
                .join(format!("rmq-bench-{}-{name}{pair}", std::process::id()));
            let report = run_once(command, &dir, load, page_cache.as_mut())?;
            progress(name, &report);
            reports.push(report);
        }
    }
    Ok(Comparison {
        workload: a
            .first()
            .map(|report: &Report| report.workload.clone())
            .unwrap_or_default(),
        figures: figures(&a, &b),
        a,
        b,
    })
}

#[expect(clippy::print_stderr, reason = "beside the figures on stdout")]
fn warn_of_free_memory(free: u64) {
    eprintln!(
        "warning: the page cache is not full: {} MiB of memory are free, and the disk of the work directory has too little room to fill them \
         ({} GiB of it are left alone). What a run touches first may be slow to get from the host; make room, or use another --work-dir.",
        free >> 20,
        DISK_BYTES >> 30
    );
}

/// Starts a server on a fresh directory, runs the load, stops it and removes the directory; fills the page cache before. A JVM is warmed up for
/// 20 seconds at least.
///
/// # Errors
/// When the server does not start or the load cannot run; the directory and the server's log stay then.
pub fn run_once(
    command: &str,
    dir: &Path,
    load: &Load,
    page_cache: Option<&mut PageCache>,
) -> io::Result<Report> {
    if let Some(free) = page_cache.map_or(Ok(None), PageCache::fill)? {
        warn_of_free_memory(free);
    }
    let server = Server::start(command, dir, Ready::Topic)?;
    let report = if apache::is_meant(command) {
        load.clone()
            .warmed_up(apache::WARM_UP)
            .run(&server.target())?
    } else {
        load.run(&server.target())?
    };
    server.stop()?;
    std::fs::remove_dir_all(dir)?;
    std::fs::remove_file(dir.with_extension("log"))?;
    rustix::fs::sync();
    Ok(report)
}

fn figures(a: &[Report], b: &[Report]) -> Vec<Figure> {
    let (Some(first_a), Some(_)) = (a.first(), b.first()) else {
        return Vec::new();
    };
    let names = first_a.figures().into_iter().map(|(name, _)| name);
    names
        .filter_map(|name| {
            let of = |reports: &[Report]| -> Vec<f64> {
                reports
                    .iter()
                    .filter_map(|report| {
                        let figures = report.figures();
                        figures
                            .iter()
                            .find(|(other, _)| *other == name)
                            .map(|(_, value)| *value)
                    })
                    .collect()
            };
            let (of_a, of_b) = (of(a), of(b));
            if of_a.len() != a.len() || of_b.len() != b.len() {
                return None;
            }
            let ratios: Vec<f64> = of_a
                .iter()
                .zip(&of_b)
                .filter(|(_, b)| **b != 0.0)
                .map(|(a, b)| a / b)
                .collect();
            let some = !ratios.is_empty();
            Some(Figure {
                name,
                a: median(&of_a),
                b: median(&of_b),
                ratio: some.then(|| median(&ratios)),
                ratio_min: ratios.iter().copied().reduce(f64::min),
                ratio_max: ratios.iter().copied().reduce(f64::max),
            })
        })
        .collect()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} pairs", self.workload, self.a.len())?;
        writeln!(
            f,
            "  {:<20} {:>12} {:>12} {:>8}   min-max",
            "median", "A", "B", "A/B"
        )?;
        for figure in &self.figures {
            write!(
                f,
                "  {:<20} {:>12} {:>12}",
                figure.name,
                number(figure.a),
                number(figure.b)
            )?;
            match (figure.ratio, figure.ratio_min, figure.ratio_max) {
                (Some(ratio), Some(min), Some(max)) => {
                    writeln!(f, " {ratio:>8.2}   {min:.2}-{max:.2}")?;
                }
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}
