fun main() = println(System.`in`.bufferedReader().lineSequence().count())
