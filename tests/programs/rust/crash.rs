fn main() {
    unsafe { (8 as *mut i32).write_volatile(1) }
}
