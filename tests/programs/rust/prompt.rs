fn main() {
    print!("number? ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let number: i64 = line.trim().parse().unwrap();
    println!("{}", number * number);
}
