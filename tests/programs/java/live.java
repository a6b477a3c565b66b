class Main {
    public static void main(String[] args) throws InterruptedException {
        System.out.print("one\n");
        Thread.sleep(1000);
        System.out.print("two\n");
    }
}
