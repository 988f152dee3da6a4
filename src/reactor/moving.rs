//! Bytes in and out: what the loop does when something has happened to a connection, and who comes in.

use std::io;

use log::{trace, warn};
use mio::Token;
use mio::event::Event;

use super::console::Console;
use super::socket::{Progress, Read, Socket};
use super::{ACCEPTS_PER_TURN, Reactor};
use crate::seldom;
use crate::server::{ConnId, Server};
use crate::time::Time;

impl Reactor {
    /// Something happened to a connection: a dial has ended, there is something to read, there is room to write.
    pub(super) fn attend(&mut self, conn: ConnId, event: &Event, server: &mut Server) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        if socket.is_connecting() {
            match socket.finish_connecting(event.is_writable()) {
                Ok(Progress::NotYet) => return,
                Ok(progress) => {
                    if progress == Progress::Dialled {
                        if self.trace.is_some() {
                            server.label(conn, socket.label(true));
                        }
                        server.connected(conn, self.now());
                    } else {
                        server.agreed(conn, self.now());
                    }
                    // What has waited for the connection to be open leaves without a word of the system's.
                    self.flush(conn, server);
                }
                Err(error) => self.fail(conn, &error, server),
            }
            self.settle(server);
        }
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        if socket.note(event) {
            self.ready.push_back(conn);
        }
        if event.is_writable() {
            self.flush(conn, server);
        }
    }

    /// Reads what a ready connection has, up to its budget.
    pub(super) fn read(&mut self, conn: ConnId, server: &mut Server) {
        if self.console.as_ref().is_some_and(|console| console.conn() == conn) {
            return self.attend_console(server);
        }
        for _ in 0..READS_PER_TURN {
            let now = self.now();
            let Some(socket) = self.sockets.get_mut(&conn) else { return };
            if !server.may_read(conn, now) {
                self.waiting.push(conn);
                return;
            }
            match socket.read(&mut self.buffer) {
                Read::Bytes { count, more } => {
                    trace!("reactor: read conn={} bytes={count}", conn.0);
                    server.received(conn, &self.buffer[..count], now);
                    self.settle(server);
                    if !more {
                        return self.rest(conn);
                    }
                }
                Read::Nothing => return self.rest(conn),
                Read::End => {
                    socket.note_end();
                    server.ended(conn, now);
                    return self.settle(server);
                }
                Read::Failed(error) => {
                    self.fail(conn, &error, server);
                    return self.settle(server);
                }
            }
        }
        self.ready.push_back(conn);
    }

    /// A connection is broken, or was never made.
    fn fail(&mut self, conn: ConnId, error: &io::Error, server: &mut Server) {
        let socket = self.sockets.remove(&conn);
        let failed_by_tls = |socket: &Socket| socket.is_encrypted() && error.raw_os_error().is_none();
        if let Some(socket) = socket.filter(failed_by_tls)
            && seldom::count(&mut self.tls_failures)
        {
            let peer = socket.peer().map_or_else(|| "?".to_owned(), |peer| peer.to_string());
            warn!("reactor: encryption failed peer={peer} why=\"{error}\" so_far={}", self.tls_failures);
        }
        server.failed(conn, &error.to_string(), self.now());
    }

    /// Takes a connection that has been read empty off the ready list.
    fn rest(&mut self, conn: ConnId) {
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.note_empty();
        }
    }

    /// Reads what a connection that is to go has delivered.
    pub(super) fn drain(&mut self, conn: ConnId, server: &mut Server) {
        let mut drained = 0;
        while let Some(socket) = self.sockets.get_mut(&conn)
            && drained < DRAIN_BYTES_MAX
            && let Read::Bytes { count, .. } = socket.read(&mut self.buffer)
        {
            drained += count;
            server.received(conn, &self.buffer[..count], self.now());
        }
        server.drained(conn, self.now());
    }

    /// Writes what waits for `conn`, as far as it goes.
    pub(super) fn flush(&mut self, conn: ConnId, server: &mut Server) {
        if let Some(console) = self.console.as_mut().filter(|console| console.conn() == conn) {
            let now = Time::since_start(self.started.elapsed());
            while let Some(written) = server.outgoing(conn).and_then(|queue| console.write(queue)) {
                server.wrote(conn, written, now);
            }
            return;
        }
        loop {
            let (Some(socket), Some(queue)) = (self.sockets.get_mut(&conn), server.outgoing(conn)) else {
                return;
            };
            let written = socket.write(queue);
            if written == 0 {
                if !queue.is_empty() {
                    server.held_up(conn);
                }
                self.mind_broken(conn, server);
                return;
            }
            trace!("reactor: wrote conn={} bytes={written}", conn.0);
            server.wrote(conn, written, self.now());
        }
    }

    /// A connection that takes no bytes any more is read to its end before it is given up.
    fn mind_broken(&mut self, conn: ConnId, server: &mut Server) {
        let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| socket.is_broken()) else { return };
        // A master that owes its reading is not read before it has taken its answers; this one never will.
        let now = Time::since_start(self.started.elapsed());
        if socket.has_ended() || !server.may_read(conn, now) {
            self.sockets.remove(&conn);
            server.failed(conn, "it is gone and has not read its answers", now);
        } else if socket.note_ready() {
            self.ready.push_back(conn);
        }
    }

    /// Takes in who waits at the doors.
    pub(super) fn accept(&mut self, server: &mut Server) {
        let now = self.now();
        for index in 0..self.entrances.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                let Some((stream, _)) = self.entrances[index].accept(now) else { break };
                let conn = server.accepted(self.entrances[index].door(), now);
                let socket = self
                    .session_for_link(self.entrances[index].door())
                    .and_then(|tls| Socket::accepted(stream, tls, Token(conn.0), self.poll.registry()));
                match socket {
                    Ok(socket) => {
                        if self.trace.is_some() {
                            server.label(conn, socket.label(false));
                        }
                        self.sockets.insert(conn, socket);
                    }
                    Err(error) => server.failed(conn, &error.to_string(), now),
                }
                self.settle(server);
            }
        }
    }

    /// Standard input has lines, or standard output has room again.
    pub(super) fn attend_console(&mut self, server: &mut Server) {
        let Some(conn) = self.console.as_ref().map(Console::conn) else { return };
        loop {
            let now = self.now();
            let Some(console) = &mut self.console else { return };
            if !server.may_read(conn, now) {
                // Looked at again after every turn, like the other masters that wait.
                if !self.waiting.contains(&conn) {
                    self.waiting.push(conn);
                }
                break;
            }
            let Some(bytes) = console.read() else { break };
            server.received(conn, &bytes, now);
            self.settle(server);
        }
        self.flush(conn, server);
    }
}

/// How many reads one connection gets before the others have their turn.
const READS_PER_TURN: usize = 4;
/// How much of a connection that is to go is still read: what its peer had delivered cannot be more than the socket's buffers.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;
