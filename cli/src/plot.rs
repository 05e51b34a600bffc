//! Numbers over time, drawn with characters.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Points of a line.
const POINTS: usize = 16;
/// Lines of a chart.
const LINES: usize = 8;

/// The last values as one line of bars between the lowest and the highest of them.
pub(crate) fn sparkline(values: &[f64]) -> String {
    let values = &values[values.len().saturating_sub(POINTS)..];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let span = high - low;
    values
        .iter()
        .map(|value| {
            let part = if span > 0.0 {
                (value - low) / span
            } else {
                0.0
            };
            BARS[((part * (BARS.len() - 1) as f64).round() as usize).min(BARS.len() - 1)]
        })
        .collect()
}

/// A chart from zero to the highest value, as wide as the terminal at most.
pub(crate) fn chart(title: &str, values: &[f64], width: u16) -> String {
    let high = values.iter().copied().fold(0.0, f64::max);
    let label = format!("{high:.0}");
    let room = usize::from(width).saturating_sub(label.len() + 3).max(1);
    let values = &values[values.len().saturating_sub(room)..];
    let mut text = format!("{title}\n");
    for line in (0..LINES).rev() {
        let mark = match line {
            _ if line == LINES - 1 => label.clone(),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let bars: String = values
            .iter()
            .map(|value| {
                let filled = if high > 0.0 {
                    value / high * LINES as f64
                } else {
                    0.0
                };
                let here = filled - line as f64;
                if here <= 0.0 {
                    if line == 0 { BARS[0] } else { ' ' }
                } else {
                    let step = (here * BARS.len() as f64).ceil() as usize;
                    BARS[step.clamp(1, BARS.len()) - 1]
                }
            })
            .collect();
        text.push_str(&format!("{mark:>width$} │{bars}\n", width = label.len()));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_show_the_shape() {
        assert_eq!(sparkline(&[0.0, 7.0, 3.5]), "▁█▅");
        assert_eq!(sparkline(&[5.0, 5.0]), "▁▁");
        assert_eq!(sparkline(&[]), "");
        let drawn = chart("lag", &[0.0, 50.0, 100.0], 40);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 1 + LINES);
        assert!(
            lines[1].starts_with("100 │") && lines[1].ends_with('█'),
            "{drawn}"
        );
        assert_eq!(lines[LINES], "  0 │▁██", "{drawn}");
        assert!(
            chart("lag", &vec![1.0; 500], 40)
                .lines()
                .all(|line| line.chars().count() <= 40)
        );
    }
}
