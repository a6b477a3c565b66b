using System;
using System.Numerics;

class Program {
    static void Main() {
        var power = BigInteger.Pow(2, 100).ToString();
        Console.WriteLine(power == "1267650600228229401496703205376" ? "here" : power);
    }
}
