//! A headless Chromium, driven through its protocol for developers over two pipes: no port, no library.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long an answer may take before the test fails. Nothing waits for as long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page; it ends with this value.
pub(crate) struct Browser {
    child: Child,
    orders: File,
    answers: Receiver<Value>,
    asked: u64,
    session: Option<String>,
    /// What the browser said without being asked.
    events: Vec<Value>,
    _folder: TempDir,
}

/// A browser, or nothing where none is installed, which is said aloud; a failure where `CI` is `true`.
pub(crate) fn browser() -> Option<Browser> {
    if let Some(program) = find() {
        return Some(Browser::start(&program));
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no Chromium here; install the package chromium");
    // Not by a macro, whose output a passing test would keep to itself.
    let said =
        b"\nSKIPPED: no Chromium here, so nothing is known about the page of traces. Install chromium.\n";
    std::io::stderr().write_all(said).expect("standard error is open");
    None
}

fn find() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&folders).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

impl Browser {
    fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (to_browser, from_browser) = (folder.path().join("to"), folder.path().join("from"));
        let made = Command::new("mkfifo").args([&to_browser, &from_browser]).status().expect("mkfifo runs");
        assert!(made.success());
        // Open for both, so that nobody waits for the other end to be opened.
        let orders = File::options().read(true).write(true).open(&to_browser).expect("a pipe");
        let child = Command::new("sh")
            .args(["-c", "exec 3<\"$1\" 4>\"$2\"; shift 2; exec \"$@\"", "sh"])
            .args([&to_browser, &from_browser])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
            .args(["--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let (sender, answers) = crossbeam_channel::bounded(1024);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(File::open(from_browser).expect("a pipe")).split(0);
            while let Some(Ok(line)) = lines.next() {
                let answer = serde_json::from_slice(&line).expect("the browser speaks JSON");
                if sender.send(answer).is_err() {
                    break;
                }
            }
        });
        let mut browser =
            Self { child, orders, answers, asked: 0, session: None, events: Vec::new(), _folder: folder };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session =
            browser.call("Target.attachToTarget", &attach)["sessionId"].as_str().expect("an id").to_owned();
        browser.session = Some(session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser.resize(1400, 860);
        browser
    }

    /// Sets the size of the window, in pixels.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Opens a page and waits until it is complete.
    pub(crate) fn open(&mut self, page: &Path) {
        self.events.clear();
        self.call("Page.navigate", &json!({ "url": format!("file://{}", page.display()) }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push(event);
        }
    }

    /// What an expression gives in the page, waiting for it if it is a promise.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", &ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// What an expression gives, as numbers.
    pub(crate) fn numbers(&mut self, expression: &str) -> Vec<usize> {
        serde_json::from_value(self.evaluate(expression)).expect("a list of numbers")
    }

    /// What an expression gives, as a number.
    pub(crate) fn number(&mut self, expression: &str) -> f64 {
        self.evaluate(expression).as_f64().unwrap_or_else(|| panic!("{expression} gives no number"))
    }

    /// Presses and releases the mouse at a place of the window.
    pub(crate) fn click(&mut self, x: f64, y: f64) {
        self.hover(x, y);
        for act in ["mousePressed", "mouseReleased"] {
            let mouse = json!({ "type": act, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &mouse);
        }
    }

    /// Moves the mouse.
    pub(crate) fn hover(&mut self, x: f64, y: f64) {
        self.call("Input.dispatchMouseEvent", &json!({ "type": "mouseMoved", "x": x, "y": y }));
    }

    /// Presses a key, such as `ArrowLeft` or `/`.
    pub(crate) fn press(&mut self, key: &str) {
        let text = if key.len() == 1 { key } else { "" };
        self.call("Input.dispatchKeyEvent", &json!({ "type": "keyDown", "key": key, "text": text }));
        self.call("Input.dispatchKeyEvent", &json!({ "type": "keyUp", "key": key }));
    }

    /// Types text into what has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Errors, warnings and messages of the console, and requests to anywhere but the page itself, since it was opened.
    pub(crate) fn complaints(&mut self) -> Vec<Value> {
        // What the page has caused so far has been told before this answer.
        self.evaluate("1");
        let complains = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => true,
            Some("Network.requestWillBeSent") => {
                let address = event["params"]["request"]["url"].as_str().unwrap_or_default();
                !address.starts_with("file://") && !address.starts_with("data:")
            }
            _ => false,
        };
        self.events.iter().filter(complains).cloned().collect()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let mut order = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).expect("the browser listens");
        loop {
            let mut answer = self.next();
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn next(&mut self) -> Value {
        self.answers.recv_timeout(PATIENCE).expect("the browser lives and answers")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, it ends its own processes; it is not waited for if it does not.
        let _ = self.orders.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.answers.recv_timeout(Duration::from_secs(5)).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
