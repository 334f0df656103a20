//! The `paseo` program.

fn main() -> std::process::ExitCode {
    paseo_cli::main()
}
