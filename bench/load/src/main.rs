//! A load client for WebSocket echo servers on 127.0.0.1: raw sockets, epoll, every echo checked octet for octet.

mod churn;
mod echo;
mod fanout;
mod frame;
mod idle;
mod process;
mod sys;

use process::Process;
use std::collections::HashMap;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

const USAGE: &str = "\
usage: evws-load echo  --port PORT [--connections 1] [--in-flight 1] [--size 64] [--count N | --seconds 2]
       evws-load churn --port PORT [--count 5000] [--at-once 128] [--size 64]
       evws-load idle  --port PORT [--connections 10000] [--size 64] [--hold 0]
       evws-load fanout --port PORT [--connections 1000] [--messages 1] [--rounds 300] [--size 128] [--deflate true]
echo:  messages in flight on every connection, for a number of echoes in all or for a time
churn: connect, upgrade, one echo, close; --at-once connections at a time
idle:  opens connections, sends one message on each, holds them for --hold seconds
fanout: one more connection asks, --rounds times, for so many messages of that size to all others (its first octet says
how many), and asks again when all have come
with --server-pid PID the line tells the CPU time and the memory of that process as well;
after --timeout seconds (default 60) echo and churn give up
";

/// The options of the command line, each taken once; what is left over at the end is an error.
struct Arguments(HashMap<String, String>);

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments;
        let mut options = HashMap::new();
        while let Some(name) = arguments.next() {
            let key = name
                .strip_prefix("--")
                .ok_or_else(|| format!("'{name}' is not an option"))?;
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} has no value"))?;
            options.insert(key.to_string(), value);
        }
        Ok(Self(options))
    }

    fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| format!("--{name}: '{text}' is not a number in range"))
    }

    fn positive(&mut self, name: &str, default: usize) -> Result<usize, String> {
        match self.take(name)?.unwrap_or(default) {
            0 => Err(format!("--{name} must be at least 1")),
            n => Ok(n),
        }
    }

    fn seconds(&mut self, name: &str, default: f64) -> Result<Duration, String> {
        let seconds = self.take::<f64>(name)?.unwrap_or(default);
        Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name}: {error}"))
    }

    fn finish(self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("--{name} is not known here")),
            None => Ok(()),
        }
    }
}

enum Mode {
    Echo(echo::Options),
    Churn(churn::Options),
    Idle(idle::Options),
    Fanout(fanout::Options),
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Mode, String> {
    let mode = arguments.next().ok_or("a mode is missing")?;
    let mut options = Arguments::parse(arguments)?;
    let port = options.take("port")?.ok_or("--port is missing")?;
    let server = options.take("server-pid")?.map(Process);
    let size = options.positive("size", if mode == "fanout" { 128 } else { 64 })?;
    let timeout = options.seconds("timeout", 60.0)?;
    let mode = match mode.as_str() {
        "echo" => {
            let connections = options.positive("connections", 1)?;
            let in_flight = options.positive("in-flight", 1)?;
            let (count, seconds) = (
                options.take("count")?,
                options.seconds("seconds", 2.0)?.as_secs_f64(),
            );
            Mode::Echo(echo::Options {
                port,
                connections,
                in_flight,
                size,
                count,
                seconds,
                timeout,
                server,
            })
        }
        "churn" => {
            let count = options.positive("count", 5000)? as u64;
            let at_once = options.positive("at-once", 128)?;
            Mode::Churn(churn::Options {
                port,
                count,
                at_once,
                size,
                timeout,
                server,
            })
        }
        "idle" => {
            let connections = options.positive("connections", 10_000)?;
            let hold = options.seconds("hold", 0.0)?;
            Mode::Idle(idle::Options {
                port,
                connections,
                size,
                hold,
                server,
            })
        }
        "fanout" => {
            let connections = options.positive("connections", 1000)?;
            let messages = options.positive("messages", 1)?;
            let rounds = options.positive("rounds", 300)?;
            Mode::Fanout(fanout::Options {
                port,
                connections,
                messages: u8::try_from(messages).map_err(|_| "--messages must be below 256")?,
                rounds,
                size,
                deflate: options.take::<bool>("deflate")?.unwrap_or(false),
                timeout,
                server,
            })
        }
        other => return Err(format!("'{other}' is not a mode")),
    };
    options.finish()?;
    Ok(mode)
}

fn main() -> ExitCode {
    let mode = match parse(std::env::args().skip(1)) {
        Ok(mode) => mode,
        Err(text) => {
            eprint!("evws-load: {text}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match &mode {
        Mode::Echo(options) => echo::run(options),
        Mode::Churn(options) => churn::run(options),
        Mode::Idle(options) => idle::run(options),
        Mode::Fanout(options) => fanout::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evws-load: {error}");
            ExitCode::FAILURE
        }
    }
}
