//! `rmq-ctl top`: what the cluster does now, full screen. Reads only.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Row, Table};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::output::Output;
use crate::plot::sparkline;
use crate::stop;
use crate::when;

/// Questions at once.
const AT_ONCE: usize = 16;
/// Points of a trend.
const POINTS: usize = 32;

/// Options of `top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Keys: q ends, Tab goes to the next table, ↑ and ↓ scroll, s sorts by name or by rate.

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

/// One row of a table: name, cells, and what it is sorted by.
struct Item {
    name: String,
    cells: Vec<String>,
    weight: f64,
}

/// What is shown.
#[derive(Default)]
struct View {
    tables: [Vec<Item>; 3],
    problem: Option<String>,
    taken: Option<Instant>,
}

/// Numbers of the look before, and trends.
#[derive(Default)]
struct Memory {
    counts: BTreeMap<String, (Instant, i64)>,
    trends: BTreeMap<String, Vec<f64>>,
}

impl Memory {
    /// A second's growth of a count since the look before.
    fn rate(&mut self, key: String, count: i64) -> f64 {
        let now = Instant::now();
        let before = self.counts.insert(key, (now, count));
        before.map_or(0.0, |(at, before)| {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            (count - before).max(0) as f64 / seconds
        })
    }

    fn trend(&mut self, key: String, value: f64) -> String {
        let points = self.trends.entry(key).or_default();
        points.push(value);
        if points.len() > POINTS {
            points.remove(0);
        }
        sparkline(points)
    }
}

const TITLES: [&str; 3] = ["Brokers", "Topics", "Groups"];
const HEADERS: [&[&str]; 3] = [
    &["NAME", "IN/S", "OUT/S", "DISK", "TREND"],
    &["NAME", "QUEUES", "MESSAGES", "IN/S", "TREND"],
    &["NAME", "LAG", "OUT/S", "TREND"],
];

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
    let mut focus = 0;
    let mut scroll = [0_usize; 3];
    let mut by_name = false;
    let mut ticks = tokio::time::interval(options.every.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        for table in &mut view.tables {
            if by_name {
                table.sort_by(|one, other| one.name.cmp(&other.name));
            } else {
                table.sort_by(|one, other| {
                    other
                        .weight
                        .total_cmp(&one.weight)
                        .then(one.name.cmp(&other.name))
                });
            }
        }
        terminal
            .draw(|frame| paint(frame, &view, focus, &scroll, &cluster.name))
            .map_err(failed)?;
        tokio::select! {
            _ = ticks.tick() => match look(options, cluster, &mut memory).await {
                Ok(tables) => {
                    view = View { tables, problem: None, taken: Some(Instant::now()) };
                }
                // The last figures stay on the screen, with what is wrong.
                Err(error) => view.problem = Some(error.to_string()),
            },
            event = keys.recv() => {
                let Some(event) = event else {
                    return Ok(());
                };
                let Event::Key(key) = event else {
                    continue;
                };
                if key.kind == KeyEventKind::Release {
                    continue;
                }
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                    KeyCode::Char('s') => by_name = !by_name,
                    KeyCode::Tab => focus = (focus + 1) % TITLES.len(),
                    KeyCode::Down => {
                        let last = view.tables[focus].len().saturating_sub(1);
                        scroll[focus] = (scroll[focus] + 1).min(last);
                    }
                    KeyCode::Up => scroll[focus] = scroll[focus].saturating_sub(1),
                    _ => {}
                }
            }
        }
    }
}

fn paint(frame: &mut Frame<'_>, view: &View, focus: usize, scroll: &[usize; 3], cluster: &str) {
    let [head, brokers, topics, groups, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(view.tables[0].len().clamp(1, 8) as u16 + 3),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let state = match (&view.problem, view.taken) {
        (Some(problem), _) => format!("{cluster}  {}", rmq_texts::line(problem)).red(),
        (None, Some(_)) => cluster.to_owned().bold(),
        (None, None) => format!("{cluster}  looking …").into(),
    };
    frame.render_widget(Line::from(state), head);
    for (index, area) in [brokers, topics, groups].into_iter().enumerate() {
        paint_table(
            frame,
            area,
            index,
            &view.tables[index],
            index == focus,
            scroll[index],
        );
    }
    frame.render_widget(
        Line::from("q quit  Tab next table  ↑↓ scroll  s sort").dim(),
        foot,
    );
}

fn paint_table(
    frame: &mut Frame<'_>,
    area: Rect,
    index: usize,
    items: &[Item],
    is_focus: bool,
    scroll: usize,
) {
    let rows = items.iter().skip(scroll).map(|item| {
        let cells = std::iter::once(&item.name).chain(&item.cells);
        Row::new(cells.map(|cell| rmq_texts::line(cell).into_owned()))
    });
    let mut widths = vec![Constraint::Fill(2)];
    widths.extend(HEADERS[index].iter().skip(1).map(|_| Constraint::Fill(1)));
    let style = if is_focus {
        Style::new().add_modifier(Modifier::BOLD)
    } else {
        Style::new()
    };
    let title = format!(" {} ({}) ", TITLES[index], items.len());
    let table = Table::new(rows, widths)
        .header(Row::new(HEADERS[index].iter().copied()).underlined())
        .block(Block::bordered().title(title).border_style(style));
    frame.render_widget(table, area);
}

fn number(rate: f64) -> String {
    if rate >= 10_000.0 {
        format!("{:.1}k", rate / 1_000.0)
    } else {
        format!("{rate:.0}")
    }
}

/// How far a group is: in all, and its offset in each queue.
struct GroupAt {
    name: String,
    lag: i64,
    consumed: Vec<(String, i64)>,
}

async fn look(
    options: &Options,
    cluster: &Cluster,
    memory: &mut Memory,
) -> Result<[Vec<Item>; 3], rmq_client::Error> {
    let admin = cluster.client.admin();
    let info = cluster.client.cluster_info().await?;
    let mut brokers = Vec::new();
    for name in info.broker_addr_table.keys() {
        let figures = admin.runtime_info(name).await.unwrap_or_default();
        let count = |key: &str| -> i64 {
            figures
                .get(key)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        let first = |key: &str| {
            let value = figures.get(key).map(String::as_str).unwrap_or("?");
            value.split(' ').next().unwrap_or("?").to_owned()
        };
        let into = memory.rate(format!("in/{name}"), count("msgPutTotalTodayNow"));
        let out = memory.rate(format!("out/{name}"), count("msgGetTotalTodayNow"));
        let trend = memory.trend(format!("broker/{name}"), into + out);
        brokers.push(Item {
            name: name.clone(),
            cells: vec![
                number(into),
                number(out),
                first("commitLogDiskRatio"),
                trend,
            ],
            weight: into + out,
        });
    }
    let names = super::get::topic_names(cluster, options.all)
        .await
        .unwrap_or_default();
    let stats: Vec<_> = stream::iter(names)
        .map(|name| {
            let admin = cluster.client.admin();
            async move {
                let stats = admin.topic_stats(&name).await;
                (name, stats)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut topics = Vec::new();
    for (name, stats) in stats {
        // Deleted while the list was read.
        let Ok(stats) = stats else {
            continue;
        };
        let queues = &stats.offset_table.0;
        let messages: i64 = queues.iter().map(|(_, at)| super::get::messages(at)).sum();
        let rates = queues.iter().map(|(queue, at)| {
            let queue = format!("topic/{name}/{}/{}", queue.broker_name, queue.queue_id);
            memory.rate(queue, at.max_offset)
        });
        let rate: f64 = rates.sum();
        let trend = memory.trend(format!("topic/{name}"), rate);
        topics.push(Item {
            cells: vec![
                queues.len().to_string(),
                messages.to_string(),
                number(rate),
                trend,
            ],
            weight: rate,
            name,
        });
    }
    let groups: Vec<GroupAt> = stream::iter(admin.groups().await?)
        .map(|group| async move {
            let queues = super::lag::of_group(cluster, &group).await?;
            let lag = super::lag::total(&queues);
            let consumed = queues
                .into_iter()
                .map(|queue| {
                    let name = format!("{}/{}/{}", queue.topic, queue.broker, queue.queue);
                    (name, queue.consumer_offset)
                })
                .collect();
            Ok::<_, rmq_client::Error>(GroupAt {
                name: group,
                lag,
                consumed,
            })
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let groups = groups
        .into_iter()
        .filter(|group| options.all || !rmq_client::protocol::names::is_system_group(&group.name))
        .map(|group| {
            let GroupAt {
                name,
                lag,
                consumed,
            } = group;
            // Queue by queue: an offset that was moved back hides nothing of the others.
            let rates = consumed
                .into_iter()
                .map(|(queue, offset)| memory.rate(format!("group/{name}/{queue}"), offset));
            let rate: f64 = rates.sum();
            let trend = memory.trend(format!("group/{name}"), lag as f64);
            Item {
                cells: vec![lag.to_string(), number(rate), trend],
                weight: lag as f64,
                name,
            }
        })
        .collect();
    Ok([brokers, topics, groups])
}
