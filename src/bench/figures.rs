//! Figures of several runs, gathered by their names.

/// One figure of one run: its name, how exact it is shown, and what was measured, once or several times.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) decimals: usize,
    pub(super) values: Vec<f64>,
}

/// All figures of one engine so far, in the order of the table.
#[derive(Debug, Default)]
pub(super) struct Figures(pub(super) Vec<Figure>);

impl Figures {
    /// Adds what one run has measured.
    pub(super) fn add(&mut self, name: impl Into<String>, decimals: usize, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.values.push(value),
            None => self.0.push(Figure { name, decimals, values: vec![value] }),
        }
    }

    /// All that was measured under a name.
    pub(super) fn values(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|figure| figure.name == name).map(|figure| figure.values.as_slice())
    }
}
