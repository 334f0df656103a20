//! The `paseo` program, built for the tests.

fn main() -> std::process::ExitCode {
    paseo_cli::main()
}
