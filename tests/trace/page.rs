//! The page in a real browser: what it draws, filters, finds and highlights is what the library says.

use std::path::PathBuf;

use ovid::trace::{Event, History, Trace, What, page};
use tempfile::TempDir;

use crate::browser::{Browser, browser};
use crate::chatroom;

/// A history, and the browser that shows its page.
struct Shown {
    history: History,
    browser: Browser,
    _folder: TempDir,
}

/// Shows a trace; `None` where there is no browser.
fn show(events: Vec<Event>) -> Option<Shown> {
    let mut browser = browser()?;
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::of(Trace::new(events));
    let place: PathBuf = folder.path().join("page.html");
    let file = std::fs::File::create(&place).expect("a file");
    page::write(&history, "a run", std::io::BufWriter::new(file)).expect("written");
    browser.open(&place);
    Some(Shown { history, browser, _folder: folder })
}

impl Shown {
    fn count(&self, is_wanted: impl Fn(&Event) -> bool) -> usize {
        self.history.trace.events.iter().filter(|event| is_wanted(event)).count()
    }

    /// Compares what is highlighted with what the clocks say.
    fn check_highlights(&mut self, event: usize) {
        let clocks = &self.history.clocks;
        assert_eq!(self.browser.numbers("ovid.past()"), clocks.past(event), "past of {event}");
        assert_eq!(self.browser.numbers("ovid.future()"), clocks.future(event), "future of {event}");
        let vector: Vec<usize> =
            clocks.vector(event).into_iter().flat_map(|(server, count)| [server, count as usize]).collect();
        assert_eq!(
            self.browser.numbers(&format!("ovid.vector({event}).flat()")),
            vector,
            "vector of {event}"
        );
    }

    fn click_on(&mut self, event: usize) {
        let place = self.browser.evaluate(&format!("ovid.placeOf({event})"));
        self.browser.click(place["x"].as_f64().expect("x"), place["y"].as_f64().expect("y"));
    }

    fn shown_events(&mut self) -> usize {
        self.browser.numbers("[ovid.shown.sorted.length]")[0]
    }
}

/// How many different colours the diagram has, up to 100.
const COLOURS: &str = "(() => {
    const [canvas, copy] = [document.getElementById('diagram'), document.createElement('canvas')];
    Object.assign(copy, { width: canvas.width, height: canvas.height });
    const pen = copy.getContext('2d', { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    const { data } = pen.getImageData(0, 0, copy.width, copy.height);
    return Math.min(new Set(new Uint32Array(data.buffer)).size, 100);
})()";

#[test]
fn it_opens_and_draws_without_complaint() {
    let Some(mut page) = show(chatroom::run(1, 5, 40)) else { return };
    let events = page.history.trace.events.len();
    assert_eq!(page.browser.numbers("[ovid.model.count]"), [events]);
    assert!(page.browser.number("ovid.drawn.events") > 100.0);
    assert!(page.browser.number("ovid.drawn.arrows") > 50.0);
    assert!(page.browser.number(COLOURS) > 20.0, "a canvas with text and arrows has many shades");
    let summary = page.browser.evaluate("document.getElementById('summary').textContent");
    let summary = summary.as_str().expect("text");
    assert!(
        summary.contains("5 servers") && summary.contains("1 crash") && summary.contains("1 partition"),
        "{summary}"
    );
    let story = page.browser.evaluate("document.getElementById('story').textContent");
    let story = story.as_str().expect("text");
    for told in ["Partition: 0 1  ✕  2 3 4", "server 4 crashes", "server 0 pauses", "the network is cut"] {
        assert!(story.contains(told), "{told:?} in {story}");
    }
    for (width, height) in [(360, 640), (2200, 1300)] {
        page.browser.resize(width, height);
        page.browser.evaluate("ovid.drawNow()");
        assert!(page.browser.number(COLOURS) > 20.0, "{width} x {height}");
    }
    assert_eq!(page.browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_click_highlights_what_happened_before_and_after() {
    let Some(mut page) = show(chatroom::run(2, 4, 15)) else { return };
    let events: Vec<usize> =
        page.browser.numbers("ovid.shown.sorted.filter((event) => ovid.model.server[event] >= 0)");
    assert!(events.len() > 60, "{}", events.len());
    for &event in events.iter().step_by(5) {
        page.browser.evaluate(&format!("ovid.choose({event}, true)"));
        page.check_highlights(event);
        page.browser.evaluate("ovid.choose(-1)");
        page.click_on(event);
        assert_eq!(page.browser.numbers("[ovid.state.selected]"), [event], "a click where it stands");
        page.check_highlights(event);
    }
    // What happens on the way between servers has no past.
    let cut = page.browser.numbers("[ovid.model.partitions[0].event]")[0];
    page.browser.evaluate(&format!("ovid.choose({cut})"));
    assert!(page.browser.numbers("ovid.past()").is_empty());
    assert_eq!(page.browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn filters_and_search_leave_what_they_say() {
    let Some(mut page) = show(chatroom::run(3, 5, 40)) else { return };
    let kind_is = |event: &Event, wanted: &str| match &event.what {
        What::Send { kind, .. } | What::Receive { kind, .. } => kind == wanted,
        _ => false,
    };
    // Heartbeats are hidden at first, and drops are a part of the arrow of their message.
    let all = page.count(|event| !kind_is(event, "ping") && !matches!(event.what, What::Drop { .. }));
    assert_eq!(page.shown_events(), all);
    page.browser.evaluate("document.querySelector('[data-group=\"kind:msg\"]').click()");
    let msg = page.count(|event| kind_is(event, "msg"));
    assert_eq!(page.shown_events(), all - msg);
    page.browser.evaluate("document.querySelector('[data-group=\"kind:ping\"]').click()");
    assert_eq!(page.shown_events(), all - msg + page.count(|event| kind_is(event, "ping")));
    page.browser
        .evaluate("document.querySelectorAll('#types [aria-pressed=false]').forEach((chip) => chip.click())");
    page.browser.evaluate("document.querySelector('[data-server=\"2\"]').click()");
    let without = page.count(|event| event.server != "2" && !matches!(event.what, What::Drop { .. }));
    assert_eq!(page.shown_events(), without);
    assert_eq!(
        page.browser.evaluate("ovid.shown.arrows.some(({ send }) => ovid.model.peer[send] === 2)"),
        false
    );

    page.browser.press("/");
    page.browser.write("LUNCH");
    let says = |event: &Event| {
        event.server != "2"
            && !matches!(event.what, What::Drop { .. })
            && event.what.to_string().contains("lunch")
    };
    let found = page.count(says);
    assert!(found > 5);
    assert_eq!(page.browser.numbers("[ovid.state.matches.length]"), [found]);
    page.browser.press("Enter");
    assert_eq!(page.browser.evaluate("ovid.state.selected === ovid.state.matches[0]"), true);
    // The list follows.
    page.browser.evaluate("ovid.toggleList()");
    let rows = page.browser.numbers("[document.querySelectorAll('#rows tr').length]")[0];
    assert_eq!(rows, found.min(100));
    assert_eq!(page.browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn keys_lead_from_event_to_event() {
    let Some(mut page) = show(chatroom::run(1, 3, 8)) else { return };
    let lines = page.browser.evaluate("ovid.shown.byRow");
    let lines: Vec<Vec<usize>> = serde_json::from_value(lines).expect("lists");
    page.browser
        .evaluate(&format!("ovid.choose({}); document.getElementById('diagram').focus()", lines[1][2]));
    page.browser.press("ArrowRight");
    assert_eq!(page.browser.numbers("[ovid.state.selected]"), [lines[1][3]]);
    page.browser.press("ArrowLeft");
    page.browser.press("ArrowLeft");
    assert_eq!(page.browser.numbers("[ovid.state.selected]"), [lines[1][1]]);
    page.browser.press("ArrowDown");
    let below = page.browser.numbers("[ovid.state.selected]")[0];
    assert!(lines[2].contains(&below));

    let messages = page.history.clocks.messages();
    let received =
        page.browser.numbers("ovid.shown.sorted.filter((event) => ovid.model.type[event] === 'receive')")[3];
    let sent = messages.send_of(received).expect("nothing is received that was not sent");
    page.browser.evaluate(&format!("ovid.choose({received})"));
    page.browser.press("Enter");
    assert_eq!(page.browser.numbers("[ovid.state.selected]"), [sent]);
    page.browser.press("Escape");
    assert_eq!(page.browser.evaluate("ovid.state.selected"), -1);
}

#[test]
fn contents_stay_text_wherever_they_are_shown() {
    let attack = "<img src=x onerror='window.broken = 1'><script>window.broken = 1</script>";
    let event = |at_ns, server: &str, what| Event { at_ns, server: server.into(), what };
    let id = Some(u64::MAX);
    let (text, kind, link) = (attack.to_owned(), attack.to_owned(), attack.to_owned());
    let send =
        What::Send { to: attack.into(), link: link.clone(), kind: kind.clone(), text: text.clone(), id };
    let receive = What::Receive { from: "a".into(), link, kind, text, id };
    let note = What::Note { text: attack.into() };
    let events = vec![event(1, "a", send), event(2, attack, receive), event(3, "a", note)];
    let Some(mut page) = show(events) else { return };
    page.browser.evaluate("ovid.toggleList(); ovid.choose(1)");
    page.browser.press("/");
    page.browser.write("<img");
    let place = page.browser.evaluate("ovid.placeOf(1)");
    page.browser.hover(place["x"].as_f64().expect("x"), place["y"].as_f64().expect("y"));
    for id in ["tooltip", "details", "rows", "servers", "types"] {
        let text = page.browser.evaluate(&format!("document.getElementById('{id}').textContent"));
        assert!(text.as_str().expect("text").contains("<img src=x"), "{id}: {text}");
    }
    assert_eq!(page.browser.evaluate("'broken' in window"), false);
    assert_eq!(page.browser.evaluate("document.querySelectorAll('img').length"), 0);
    assert_eq!(page.browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn twenty_thousand_events_open_and_can_be_used() {
    let mut events = chatroom::run(4, 8, 600);
    events.truncate(20_000);
    assert_eq!(events.len(), 20_000);
    let Some(mut page) = show(events) else { return };
    page.browser.evaluate("document.querySelector('[data-group=\"kind:ping\"]').click(); ovid.drawNow()");
    let drops = page.count(|event| matches!(event.what, What::Drop { .. }));
    assert_eq!(page.shown_events(), 20_000 - drops);
    let network = page.count(|event| matches!(event.what, What::Partition { .. } | What::Heal { .. }));
    assert_eq!(page.browser.numbers("[ovid.drawn.events]"), [20_000 - drops - network]);
    page.browser.evaluate("ovid.choose(10000, true); ovid.drawNow()");
    page.check_highlights(10_000);
    assert!(page.browser.number("ovid.drawn.events") < 1000.0, "only the window is drawn");
    assert_eq!(page.browser.complaints(), Vec::<serde_json::Value>::new());

    // Told, not judged: a slow machine makes no page wrong.
    let opened = page.browser.number("performance.getEntriesByType('navigation')[0].loadEventEnd");
    page.browser.evaluate("ovid.choose(-1); document.getElementById('zoom-fit').click()");
    let redraw = "(() => {
        const began = performance.now();
        for (let times = 0; times < 20; times += 1) {
            ovid.drawNow();
            document.getElementById('diagram').getContext('2d').getImageData(0, 0, 1, 1);
        }
        return (performance.now() - began) / 20;
    })()";
    let whole = page.browser.number(redraw);
    let chosen = page.browser.number("(() => { const began = performance.now(); ovid.choose(10000); return performance.now() - began; })()");
    println!("20,000 events: open {opened:.0} ms, redraw of all {whole:.1} ms, choose {chosen:.1} ms");
}
