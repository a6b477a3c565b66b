class Program {
    static void Main() { System.Console.WriteLine(Tool.Twice(21)); }
}
