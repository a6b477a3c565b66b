mod tool;

fn main() {
    println!("{}", tool::twice(21));
}
