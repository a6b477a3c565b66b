class Main {
    public static void main(String[] args) throws Exception {
        new ProcessBuilder("sh", "-c", "kill -SEGV $PPID").start().waitFor();
        Thread.sleep(60000);
    }
}
