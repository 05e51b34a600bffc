//! What is on the screen, and what keys do to it.

use std::time::Instant;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph, Row, Table, TableState};

use super::look::Item;
use crate::facts::about::description::Tables;
use crate::facts::about::subject::Subject;
use crate::render;

const TITLES: [&str; 3] = ["Brokers", "Topics", "Groups"];
const SUBJECTS: [Subject; 3] = [Subject::Broker, Subject::Topic, Subject::Group];
const HEADERS: [&[&str]; 3] = [
    &["NAME", "IN/S", "OUT/S", "DISK", "TREND"],
    &["NAME", "QUEUES", "MESSAGES", "IN/S", "TREND"],
    &["NAME", "LAG", "OUT/S", "TREND"],
];
const KEYS: &str = "\
Tab        the next table
↑ ↓ k j    the row above, below; in a description: scroll
PgUp PgDn  ten rows
Enter      describe what the row is about
/          show names that contain a text only; Enter keeps it, Esc takes it back
s          sort by name, or by rate and lag
Esc        back: out of a description, this page, the filter
?          this page
q          end";

/// What was seen last.
#[derive(Default)]
pub(super) struct View {
    pub(super) tables: [Vec<Item>; 3],
    pub(super) problem: Option<String>,
    pub(super) taken: Option<Instant>,
}

/// What is shown.
#[derive(Debug, Default, PartialEq, Eq)]
enum Page {
    #[default]
    Tables,
    Help,
    /// One thing described.
    Detail(usize, String),
}

/// What a key asks for, beyond what the screen does itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    End,
    /// The description is to be read.
    Look,
}

#[derive(Default)]
pub(super) struct Screen {
    page: Page,
    /// The table that has the keys, and the row in each.
    focus: usize,
    rows: [usize; 3],
    by_name: bool,
    filter: String,
    /// Whether keys are letters of the filter.
    is_typing: bool,
    /// The description, or why there is none.
    detail: Option<Result<Tables, String>>,
    scroll: u16,
}

impl Screen {
    /// What the page describes.
    pub(super) fn wanted(&self) -> Option<(Subject, &str)> {
        match &self.page {
            Page::Detail(index, name) => Some((SUBJECTS[*index], name)),
            Page::Tables | Page::Help => None,
        }
    }

    /// The description that was wanted.
    pub(super) fn tell(&mut self, detail: Result<Tables, String>) {
        self.detail = Some(detail);
    }

    pub(super) fn sort(&self, view: &mut View) {
        for table in &mut view.tables {
            if self.by_name {
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
    }

    /// Rows of a table whose names contain the filter.
    fn rows<'v>(&self, view: &'v View, index: usize) -> Vec<&'v Item> {
        let wanted = self.filter.to_lowercase();
        let rows = view.tables[index].iter();
        rows.filter(|item| item.name.to_lowercase().contains(&wanted))
            .collect()
    }

    fn step(&mut self, view: &View, by: isize) {
        if self.page != Page::Tables {
            let by = i16::try_from(by).unwrap_or(0);
            self.scroll = self.scroll.saturating_add_signed(by);
            return;
        }
        let last = self.rows(view, self.focus).len().saturating_sub(1);
        let row = &mut self.rows[self.focus];
        *row = row.saturating_add_signed(by).min(last);
    }

    /// Does what the key asks for.
    pub(super) fn key(&mut self, key: KeyEvent, view: &View) -> Act {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Act::End;
        }
        if self.is_typing {
            self.typed(key.code);
            return Act::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Act::End,
            KeyCode::Char('?') => self.open(Page::Help),
            KeyCode::Esc if self.page != Page::Tables => self.open(Page::Tables),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.step(view, 1),
            KeyCode::Up | KeyCode::Char('k') => self.step(view, -1),
            KeyCode::PageDown => self.step(view, 10),
            KeyCode::PageUp => self.step(view, -10),
            _ if self.page != Page::Tables => {}
            KeyCode::Char('s') => self.by_name = !self.by_name,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Tab => self.focus = (self.focus + 1) % TITLES.len(),
            KeyCode::BackTab => self.focus = (self.focus + TITLES.len() - 1) % TITLES.len(),
            KeyCode::Enter => {
                let rows = self.rows(view, self.focus);
                let row = self.rows[self.focus].min(rows.len().saturating_sub(1));
                if let Some(item) = rows.get(row) {
                    self.open(Page::Detail(self.focus, item.name.clone()));
                    return Act::Look;
                }
            }
            _ => {}
        }
        Act::Nothing
    }

    fn open(&mut self, page: Page) {
        self.page = page;
        self.detail = None;
        self.scroll = 0;
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            _ => return,
        }
        self.rows = [0; 3];
    }

    pub(super) fn paint(&self, frame: &mut Frame<'_>, view: &View, cluster: &str) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(1),
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
        match &self.page {
            Page::Tables => self.paint_tables(frame, body, view),
            Page::Help => self.paint_text(frame, body, " Keys ", KEYS.to_owned()),
            Page::Detail(index, name) => self.paint_detail(frame, body, *index, name),
        }
        let foot_text = match (&self.page, self.is_typing, self.filter.as_str()) {
            (Page::Tables, true, filter) => format!("/{}█", rmq_texts::line(filter)),
            (Page::Tables, false, "") => {
                "? help  q end  Tab next table  ↑↓ row  Enter describe  / filter  s sort".to_owned()
            }
            (Page::Tables, false, filter) => {
                format!("names with \"{}\"  Esc shows all", rmq_texts::line(filter))
            }
            (Page::Help | Page::Detail(..), ..) => "Esc back  ↑↓ scroll  q end".to_owned(),
        };
        frame.render_widget(Line::from(foot_text).dim(), foot);
    }

    fn paint_tables(&self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let areas: [Rect; 3] = Layout::vertical([
            Constraint::Length(view.tables[0].len().clamp(1, 8) as u16 + 3),
            Constraint::Fill(1),
            Constraint::Fill(1),
        ])
        .areas(area);
        for (index, area) in areas.into_iter().enumerate() {
            let items = self.rows(view, index);
            let rows = items.iter().map(|item| {
                let cells = std::iter::once(&item.name).chain(&item.cells);
                Row::new(cells.map(|cell| rmq_texts::line(cell).into_owned()))
            });
            let mut widths = vec![Constraint::Fill(2)];
            widths.extend(HEADERS[index].iter().skip(1).map(|_| Constraint::Fill(1)));
            let is_focus = index == self.focus;
            let style = if is_focus {
                Style::new().add_modifier(Modifier::BOLD)
            } else {
                Style::new()
            };
            let all = view.tables[index].len();
            let title = match items.len() {
                shown if shown == all => format!(" {} ({all}) ", TITLES[index]),
                shown => format!(" {} ({shown} of {all}) ", TITLES[index]),
            };
            let table = Table::new(rows, widths)
                .header(Row::new(HEADERS[index].iter().copied()).underlined())
                .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
                .block(Block::bordered().title(title).border_style(style));
            let row = self.rows[index].min(items.len().saturating_sub(1));
            let mut state =
                TableState::default().with_selected((is_focus && !items.is_empty()).then_some(row));
            frame.render_stateful_widget(table, area, &mut state);
        }
    }

    fn paint_detail(&self, frame: &mut Frame<'_>, area: Rect, index: usize, name: &str) {
        let kind = TITLES[index].trim_end_matches('s');
        let title = format!(" {kind} {} ", rmq_texts::line(name));
        let text = match &self.detail {
            None => "looking …".to_owned(),
            Some(Err(problem)) => rmq_texts::line(problem).into_owned(),
            Some(Ok(tables)) => {
                let mut text = String::new();
                let width = area.width.saturating_sub(2).max(20);
                for (title, headers, rows) in tables {
                    let body = match rows.is_empty() {
                        true => "  none".to_owned(),
                        false => render::table(headers, rows.clone(), false, Some(width)),
                    };
                    text.push_str(&format!("{title}\n{body}\n\n"));
                }
                text
            }
        };
        self.paint_text(frame, area, &title, text);
    }

    fn paint_text(&self, frame: &mut Frame<'_>, area: Rect, title: &str, text: String) {
        let lines = u16::try_from(text.lines().count()).unwrap_or(u16::MAX);
        let room = area.height.saturating_sub(2);
        let scroll = self.scroll.min(lines.saturating_sub(room));
        let block = Block::bordered().title(title.to_owned());
        let text = Paragraph::new(Text::from(text)).block(block);
        frame.render_widget(text.scroll((scroll, 0)), area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let item = |name: &str, weight| Item {
            name: name.to_owned(),
            cells: vec!["1".to_owned()],
            weight,
        };
        View {
            tables: [
                vec![item("broker-a", 1.0)],
                vec![item("orders", 5.0), item("payments", 9.0)],
                Vec::new(),
            ],
            ..View::default()
        }
    }

    fn press(screen: &mut Screen, view: &View, keys: &str) -> Act {
        let mut act = Act::Nothing;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{1b}' => KeyCode::Esc,
                key => KeyCode::Char(key),
            };
            act = screen.key(KeyEvent::new(code, KeyModifiers::NONE), view);
        }
        act
    }

    #[test]
    fn enter_describes_the_row_and_escape_comes_back() {
        let (mut screen, mut view) = (Screen::default(), view());
        screen.sort(&mut view);
        assert_eq!(press(&mut screen, &view, "\tj\n"), Act::Look);
        assert_eq!(screen.wanted(), Some((Subject::Topic, "orders")));
        press(&mut screen, &view, "\u{1b}");
        assert_eq!(screen.wanted(), None);
        // A table without rows has nothing to describe.
        assert_eq!(press(&mut screen, &view, "\t\n"), Act::Nothing);
        assert_eq!(press(&mut screen, &view, "q"), Act::End);
    }

    #[test]
    fn a_filter_is_typed_kept_and_taken_back() {
        let (mut screen, view) = (Screen::default(), view());
        // Letters that are keys otherwise are letters here.
        press(&mut screen, &view, "\t/q?s");
        assert_eq!(screen.filter, "q?s");
        press(&mut screen, &view, "\u{1b}/PAY\n");
        assert_eq!(screen.rows(&view, 1).len(), 1);
        assert_eq!(press(&mut screen, &view, "\n"), Act::Look);
        assert_eq!(screen.wanted(), Some((Subject::Topic, "payments")));
        press(&mut screen, &view, "\u{1b}\u{1b}");
        assert_eq!(screen.rows(&view, 1).len(), 2);
    }
}
