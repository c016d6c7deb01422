//! The `punktfunk` executable: host, client and latency bench of punktfunk, a low-latency desktop
//! and game streaming engine. One verb, one small file; what they do lives in the libraries.

mod exit;
mod logger;
mod output;
mod signals;
mod verbs;

use std::process::ExitCode;

use argh::FromArgs;

use exit::Failure;

/// Every allocation of the process is counted, so that the bench can show that the frame path
/// makes none.
#[global_allocator]
static ALLOCATOR: bench::alloc::CountingAllocator = bench::alloc::CountingAllocator;

/// Stream a desktop with the least latency that can be had: host, client and bench in one file.
///
/// A setting `--state-dir` may also be given as PUNKTFUNK_STATE_DIR or as `state-dir` in
/// ~/.config/punktfunk/config.toml; the flag wins over the variable, the variable over the file.
#[derive(FromArgs)]
struct Arguments {
    /// print version, licence and what is built in
    #[argh(switch)]
    version: bool,

    /// say more; twice, say everything
    #[argh(switch, short = 'v')]
    verbose: i32,

    #[argh(subcommand)]
    verb: Option<verbs::Verb>,
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(ended) => return ended,
    };
    logger::install(arguments.verbose);
    engine::metrics::set_allocation_probe(bench::alloc::thread_allocations);
    let done = match arguments.verb {
        _ if arguments.version => {
            output::say(version());
            Ok(())
        }
        Some(verb) => verb.run(),
        None => Err(Failure::usage(
            "say what to do: punktfunk host, connect, bench or doctor",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// The command line; or what to exit with, because help was asked for or something is not
/// understood. `argh::from_env` would end the process itself, with a code of its own.
fn parse() -> Result<Arguments, ExitCode> {
    let words: Result<Vec<String>, _> = std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string)
        .collect();
    let words = words.map_err(|word| {
        report(&Failure::usage(format!(
            "{} is not valid UTF-8",
            word.to_string_lossy()
        )))
    })?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Arguments::from_args(&["punktfunk"], &words).map_err(|early| match early.status {
        Ok(()) => {
            output::say(early.output.trim_end());
            ExitCode::SUCCESS
        }
        Err(()) => {
            let reason = early.output.trim_end();
            report(&Failure::usage(format!(
                "{reason}\nadd --help to see what there is"
            )))
        }
    })
}

fn report(failure: &Failure) -> ExitCode {
    eprintln!("punktfunk: {failure}");
    failure.code()
}

fn version() -> String {
    let (licence, encoders) = if cfg!(feature = "x264") {
        (
            "GPL-2.0-or-later (this build links x264; the sources are MIT OR Apache-2.0)",
            "x264, openh264",
        )
    } else {
        ("MIT OR Apache-2.0", "openh264")
    };
    format!(
        "punktfunk {}\nlicence   {licence}\nencoders  {encoders}\nprotocol  punktfunk/{}\n",
        env!("CARGO_PKG_VERSION"),
        net::native::PROTOCOL_VERSION,
    )
}
