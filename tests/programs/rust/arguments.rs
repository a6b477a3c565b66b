fn main() {
    for argument in std::env::args().skip(1) {
        println!("{argument}");
    }
    println!("{}", std::env::var("GREETING").unwrap());
    std::process::exit(7);
}
