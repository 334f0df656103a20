//! The table: figures of several runs, and how they are printed.

/// The figures of several runs of the same thing.
pub(crate) struct Figures {
    unit: Unit,
    sorted: Vec<f64>,
}

/// What figures count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    Count,
}

impl Figures {
    pub(crate) fn new(unit: Unit, mut figures: Vec<f64>) -> Figures {
        figures.sort_by(f64::total_cmp);
        Figures { unit, sorted: figures }
    }

    fn median(&self) -> f64 {
        self.sorted.get(self.sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Writes all figures in the unit that suits the median.
    fn text(&self) -> String {
        let (Some(least), Some(most)) = (self.sorted.first(), self.sorted.last()) else { return "none".to_owned() };
        let (scale, unit) = self.unit.suits(self.median());
        let text = |figure: f64| match figure / scale {
            small if small < 10.0 => format!("{small:.2}"),
            large if large < 100.0 => format!("{large:.1}"),
            large => format!("{large:.0}"),
        };
        let median = text(self.median());
        match self.sorted.len() {
            1 => format!("{median} {unit}"),
            runs => format!("{median} {unit} ({} – {}, {runs})", text(*least), text(*most)),
        }
    }
}

impl Unit {
    fn suits(self, figure: f64) -> (f64, &'static str) {
        match self {
            Unit::Seconds if figure >= 1.0 => (1.0, "s"),
            Unit::Seconds if figure >= 1e-3 => (1e-3, "ms"),
            Unit::Seconds => (1e-6, "µs"),
            Unit::Bytes if figure >= f64::from(1 << 20) => (f64::from(1 << 20), "MiB"),
            Unit::Bytes => (f64::from(1 << 10), "KiB"),
            Unit::Count => (1.0, ""),
        }
    }
}

/// Prints the names of the columns.
pub(crate) fn head() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{} on {}, {cores} cores\n", std::env::consts::OS, std::env::consts::ARCH);
    println!("{:<WHAT$}{:<FIGURE$}{:<BARE$}{:<FIGURE$}times", "what", "median (least – most, runs)", "beside", "");
}

/// Prints a line of something that has nothing bare beside it.
pub(crate) fn alone(what: &str, figures: &Figures) {
    println!("{what:<WHAT$}{}", figures.text());
}

/// Prints a line: the thing, and the bare thing beside it.
pub(crate) fn beside(what: &str, figures: &Figures, bare: &str, bare_figures: &Figures) {
    let times = figures.median() / bare_figures.median();
    println!("{what:<WHAT$}{:<FIGURE$}{bare:<BARE$}{:<FIGURE$}{times:.1}", figures.text(), bare_figures.text());
}

/// Prints a line of something that must not take longer than what is beside it, and says whether that holds.
pub(crate) fn race(what: &str, figures: &Figures, rival: &str, rival_figures: &Figures, aim: &str) {
    let times = figures.median() / rival_figures.median();
    let verdict = if times <= 1.0 { aim } else { "SLOWER" };
    println!(
        "{what:<WHAT$}{:<FIGURE$}{rival:<BARE$}{:<FIGURE$}{times:.2}  {verdict}",
        figures.text(),
        rival_figures.text()
    );
}

const WHAT: usize = 46;
const FIGURE: usize = 32;
const BARE: usize = 18;
