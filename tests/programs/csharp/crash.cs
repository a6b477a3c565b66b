using System.Diagnostics;

class Program {
    static void Main() {
        Process.Start("sh", "-c \"kill -SEGV $PPID\"").WaitForExit();
        System.Threading.Thread.Sleep(60000);
    }
}
