import kotlin.system.exitProcess

object Arguments {
    @JvmStatic
    fun main(args: Array<String>) {
        args.forEach { println(it) }
        println(System.getenv("GREETING"))
        exitProcess(7)
    }
}
