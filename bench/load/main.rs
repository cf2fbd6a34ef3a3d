//! The load and the upstream of the bench: one process each, one thread each, on epoll.
//!
//! `bench-load upstream [--cert FILE --key FILE]` answers; `bench-load load --target HOST:PORT ...` asks, checks every
//! answer, and measures. What an answer looks like is asked for in the request's own text (`events=200 gap_us=20000`),
//! so one upstream serves every scenario, through any gateway that passes messages on.

mod client;
mod exchange;
mod meter;
mod options;
mod payload;
mod upstream;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let done = options::Options::parse(arguments).and_then(|options| match command.as_str() {
        "upstream" => upstream::run(&options),
        "load" => client::run(&options),
        other => Err(format!("unknown command {other:?}; known: upstream, load").into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}
