fun main() {
    println("one")
    readln()
    println("two")
}
