//! `rmq-ctl top`: what the cluster does now, full screen. Reads only.

mod look;
mod screen;

use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::facts::about::subject;
use crate::output::Output;
use crate::stop;
use crate::when;
use look::{Memory, look};
use screen::{Act, Screen, View};

/// Options of `top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Keys: ? shows them, Enter describes a row, / shows some names only, Esc goes back, q ends.

Examples:
  rmq-ctl top
  rmq-ctl top --every 5s"
)]
pub(crate) struct Options {
    /// Time between looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = when::parse_length)]
    every: Duration,

    /// Topics of the system too.
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    if !output.is_terminal() {
        return Err(
            Failure::coded(&codes::INVALID, "top needs a terminal to draw on")
                .try_this("rmq-ctl lag -w, rmq-ctl get brokers -o wide -w"),
        );
    }
    let cluster = Cluster::connect(cluster, output).await?;
    let mut stop = stop::listen()?;
    let mut terminal = ratatui::try_init()
        .map_err(|error| Failure::coded(&codes::IO, "the terminal cannot be used").cause(&error))?;
    let done = tokio::select! {
        done = draw(options, &cluster, &mut terminal) => done,
        // Ctrl-C is a key here.
        _ = stop.wait() => Ok(()),
    };
    ratatui::restore();
    done
}

/// Keys, read by a thread of their own: the terminal has no other way.
fn keys() -> tokio::sync::mpsc::Receiver<Event> {
    let (sender, keys) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

async fn draw(
    options: &Options,
    cluster: &Cluster,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::coded(&codes::IO, "the terminal cannot be drawn on").cause(&error)
    };
    let mut keys = keys();
    let mut memory = Memory::default();
    let mut view = View::default();
    let mut screen = Screen::default();
    let mut ticks = tokio::time::interval(options.every.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        screen.sort(&mut view);
        terminal
            .draw(|frame| screen.paint(frame, &view, &cluster.name))
            .map_err(failed)?;
        let act = tokio::select! {
            _ = ticks.tick() => {
                match look(options.all, cluster, &mut memory).await {
                    Ok(tables) => {
                        view = View { tables, problem: None, taken: Some(Instant::now()) };
                    }
                    // The last figures stay on the screen, with what is wrong.
                    Err(error) => view.problem = Some(error.to_string()),
                }
                Act::Look
            }
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => screen.key(key, &view),
                Some(_) => Act::Nothing,
                None => Act::End,
            },
        };
        match act {
            Act::End => return Ok(()),
            Act::Nothing => {}
            Act::Look => {
                if let Some((wanted, name)) = screen.wanted() {
                    let name = name.to_owned();
                    let tables = subject::tables(wanted, &name, cluster).await;
                    screen.tell(tables.map_err(|failure| failure.what().to_owned()));
                }
            }
        }
    }
}
