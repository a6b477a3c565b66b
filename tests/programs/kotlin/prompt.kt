fun main() {
    print("number? ")
    val number = readln().toInt()
    println(number * number)
}
