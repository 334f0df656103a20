//! Reads the five time fields of a crontab, and says where a text is none.

/// The times of a crontab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Crontab {
    pub(super) minutes: Set,
    pub(super) hours: Set,
    /// Days of the month.
    pub(super) days: Set,
    pub(super) months: Set,
    /// Days of the week; Sunday is 0.
    pub(super) weekdays: Set,
    /// Whether a day field begins with `*`: then a day must match both.
    starred: bool,
}

/// Some numbers below 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Crontab {
    /// Reads five fields or a name such as `@daily`.
    pub(super) fn parse(text: &str) -> Result<Crontab, String> {
        let length = text.chars().count();
        if length > LONGEST_TEXT {
            return Err(format!("not a crontab time: it has {length} characters; {LONGEST_TEXT} are the most"));
        }
        let slip = match text.trim() {
            "" => return Err(format!("not a crontab time: it is empty; {EXAMPLE}")),
            named if named.starts_with('@') => match fields_of(named) {
                Ok(fields) => return Crontab::parse(fields),
                Err(why) => Slip { at: text.chars().take_while(char::is_ascii_whitespace).count(), why },
            },
            _ => match Crontab::read(text) {
                Ok(crontab) => return Ok(crontab),
                Err(slip) => slip,
            },
        };
        Err(format!("not a crontab time: `{}`: at character {}: {}", text.escape_debug(), slip.at + 1, slip.why))
    }

    /// Whether a day need match only one of the two day fields.
    pub(super) fn either_day(&self) -> bool {
        !self.starred
    }

    fn read(text: &str) -> Result<Crontab, Slip> {
        let chars: Vec<char> = text.chars().collect();
        let places = split(&chars);
        let end = chars.len();
        if let Some((at, _)) = places.get(FIELDS.len()) {
            let why = "a sixth field: there are minute, hour, day of the month, month and day of the week; `every` is for \
                       what comes more often than once a minute";
            return Err(Slip { at: *at, why: why.to_owned() });
        }
        let mut sets = [Set(0); FIELDS.len()];
        for (set, (field, (start, end))) in sets.iter_mut().zip(FIELDS.iter().zip(&places)) {
            *set = Reader { field, chars: &chars[..*end], at: *start }.list()?;
        }
        if let Some(missing) = FIELDS.get(places.len()..).filter(|missing| !missing.is_empty()) {
            let missing: Vec<_> = missing.iter().map(|field| field.name).collect();
            let why = format!("{} of five fields; missing: {}; {EXAMPLE}", places.len(), missing.join(", "));
            return Err(Slip { at: end, why });
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let starred = [2, 4].iter().any(|field: &usize| chars[places[*field].0] == '*');
        let crontab = Crontab { minutes, hours, days, months, weekdays: weekdays.with_sunday_once(), starred };
        match crontab.absent_day() {
            Some(why) => Err(Slip { at: places[2].0, why }),
            None => Ok(crontab),
        }
    }

    /// Says why it would never come, if it would not: every day of the week falls on every day of the year some time.
    fn absent_day(&self) -> Option<String> {
        let lengths = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let months = || (1..).zip(lengths).filter(|(month, _)| self.months.has(*month));
        if self.either_day() || months().any(|(_, length)| (1..=length).any(|day| self.days.has(day))) {
            return None;
        }
        let names: Vec<_> = months().filter_map(|(month, _)| Some(*MONTHS.get(month as usize - 1)?)).collect();
        let day = (1..=31).find(|day| self.days.has(*day))?;
        Some(format!("it would never come: there is no day {day} in {}", names.join(", ")))
    }
}

impl Set {
    /// Every number.
    pub(super) const ALL: Set = Set(u64::MAX);

    pub(super) fn has(self, number: u32) -> bool {
        number < u64::BITS && self.0 & (1 << number) != 0
    }

    /// Returns the set of the numbers that are greater by one.
    pub(super) fn shifted(self) -> Set {
        Set(self.0 << 1)
    }

    fn add(&mut self, number: u32) {
        self.0 |= 1 << number;
    }

    /// Makes the 7 of a day of the week, which is Sunday too, a 0.
    fn with_sunday_once(mut self) -> Set {
        if self.has(7) {
            self.add(0);
        }
        Set(self.0 & 0b111_1111)
    }
}

/// What is wrong, and at which character, counted from 0.
struct Slip {
    at: usize,
    why: String,
}

/// Returns the five fields that a name such as `@daily` is short for.
fn fields_of(named: &str) -> Result<&'static str, String> {
    let known = "@hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually";
    let name = named.split_ascii_whitespace().next().unwrap_or(named);
    let fields = match name.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@reboot" => {
            return Err(format!("`@reboot` is no time: nobody knows when a machine will start; write one of {known}"));
        }
        "@every" => return Err("`@every` is no name here: give the length of time as `every`".to_owned()),
        _ => return Err(format!("`{}` is no known name; write one of {known}", name.escape_debug())),
    };
    if name.len() < named.len() {
        return Err(format!("nothing may follow `{name}`, which stands for all five fields"));
    }
    Ok(fields)
}

/// Returns where each field begins and ends.
fn split(chars: &[char]) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let mut start = None;
    for (at, char) in chars.iter().enumerate() {
        match (char.is_ascii_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                places.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    places.extend(start.map(|from| (from, chars.len())));
    places
}

struct Field {
    name: &'static str,
    /// The values it takes, as people are told.
    values: &'static str,
    low: u32,
    high: u32,
    /// The names of its values, from the lowest on.
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", values: "minutes go from 0 to 59", low: 0, high: 59, names: &[] },
    Field { name: "hour", values: "hours go from 0 to 23", low: 0, high: 23, names: &[] },
    Field { name: "day of the month", values: "days of the month go from 1 to 31", low: 1, high: 31, names: &[] },
    Field { name: "month", values: "months go from 1 to 12 or from jan to dec", low: 1, high: 12, names: MONTHS },
    Field {
        name: "day of the week",
        values: "days of the week go from 0 to 7 (0 and 7 are Sunday) or from sun to sat",
        low: 0,
        high: 7,
        names: DAYS,
    },
];

/// Reads one field.
struct Reader<'a> {
    field: &'a Field,
    /// The text up to the end of the field.
    chars: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn list(&mut self) -> Result<Set, Slip> {
        let mut set = Set(0);
        loop {
            self.item(&mut set)?;
            if !self.eats(',') {
                break;
            }
        }
        match self.peek() {
            Some(_) => Err(self.stranger()),
            None => Ok(set),
        }
    }

    /// Reads a value, a range or `*`, with or without a step.
    fn item(&mut self, set: &mut Set) -> Result<(), Slip> {
        // Saturday is the end of the week where none is given, so that Sunday is not both of its ends.
        let top = if self.is_of_the_week() { 6 } else { self.field.high };
        let start = self.at;
        let (first, last) = if self.eats('*') {
            (self.field.low, top)
        } else {
            let first = self.value()?;
            match self.peek() {
                Some('-') => {
                    self.at += 1;
                    let last = self.value()?;
                    self.range(start, first, last)?
                }
                Some('/') => (first, first.max(top)),
                _ => (first, first),
            }
        };
        let step = if self.eats('/') { self.step()? } else { 1 };
        (first..=last).step_by(step).for_each(|number| set.add(number));
        Ok(())
    }

    /// Takes a range as it is meant; Sunday may be its beginning or its end.
    fn range(&self, start: usize, mut first: u32, mut last: u32) -> Result<(u32, u32), Slip> {
        if self.is_of_the_week() {
            if last == 0 && first > 0 {
                last = 7;
            }
            if first == 7 && last < 7 {
                first = 0;
            }
        }
        if first <= last {
            return Ok((first, last));
        }
        let written: String = self.chars[start..self.at].iter().collect();
        let named = written.starts_with(|char: char| char.is_ascii_alphabetic());
        let name = |number: u32| match self.field.names {
            names if named => names[(number - self.field.low) as usize % names.len()].to_owned(),
            _ => number.to_string(),
        };
        let low = if self.is_of_the_week() { 1 } else { self.field.low };
        let part = |from: u32, to: u32| if from == to { name(from) } else { format!("{}-{}", name(from), name(to)) };
        let two = format!("{},{}", part(first, self.field.high), part(low, last));
        let why = format!("the range `{written}` ends before it begins; write it as two, `{two}`");
        Err(Slip { at: start, why })
    }

    fn value(&mut self) -> Result<u32, Slip> {
        let start = self.at;
        let word = self.word();
        let slip = |why| Slip { at: start, why };
        let Field { name, values, low, high, names } = self.field;
        if word.starts_with(|char: char| char.is_ascii_digit()) {
            return match word.parse() {
                Ok(number) if (*low..=*high).contains(&number) => Ok(number),
                _ => Err(slip(format!("`{word}` is no {name}: {values}"))),
            };
        }
        if word.is_empty() {
            return Err(match self.peek() {
                None | Some('-' | ',' | '/') => slip(format!("a {name} is missing here: {values}")),
                Some(_) => self.stranger(),
            });
        }
        let named = word.to_ascii_lowercase();
        if let Some((number, _)) = (*low..).zip(*names).find(|(_, name)| **name == named) {
            return Ok(number);
        }
        Err(slip(match names.iter().find(|name| named.starts_with(**name)) {
            Some(short) => format!("`{word}` is no {name}: write `{short}`"),
            None => format!("`{word}` is no {name}: {values}"),
        }))
    }

    fn step(&mut self) -> Result<usize, Slip> {
        let start = self.at;
        let word = self.word();
        let slip = |why| Err(Slip { at: start, why });
        match word.parse() {
            Ok(0) => slip("a step is 1 or more".to_owned()),
            Ok(step) if step <= self.field.high => Ok(step as usize),
            Err(_) if !word.starts_with(|char: char| char.is_ascii_digit()) => {
                slip("a step is missing here: write a number, as in `*/5`".to_owned())
            }
            _ => slip(format!(
                "a step of {word} leads out of the field: {}; `every` takes any length",
                self.field.values
            )),
        }
    }

    /// Takes digits, or letters.
    fn word(&mut self) -> String {
        let rest = &self.chars[self.at..];
        let digits = rest.iter().take_while(|char| char.is_ascii_digit()).count();
        let letters = rest.iter().take_while(|char| char.is_ascii_alphabetic()).count();
        self.at += digits.max(letters);
        rest[..digits.max(letters)].iter().collect()
    }

    fn stranger(&self) -> Slip {
        let why = match self.peek() {
            Some('?') => "`?` is not known here: write `*`".to_owned(),
            Some(char) => format!(
                "`{}` does not belong here: a field is made of numbers, names, `*`, `-`, `,` and `/`",
                char.escape_debug()
            ),
            None => "the field ends too early".to_owned(),
        };
        Slip { at: self.at, why }
    }

    fn is_of_the_week(&self) -> bool {
        self.field.high == 7
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eats(&mut self, char: char) -> bool {
        let eats = self.peek() == Some(char);
        self.at += usize::from(eats);
        eats
    }
}

const EXAMPLE: &str = "write for example `0 9 * * mon-fri` or `@daily`";

const LONGEST_TEXT: usize = 500;
