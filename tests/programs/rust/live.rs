fn main() {
    println!("one");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    println!("two");
}
