using System.Runtime.InteropServices;

class Program {
    [DllImport("libc")]
    static extern int raise(int signal);

    static void Main() {
        raise(11);
    }
}
