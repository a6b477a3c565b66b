class Main {
    public static void main(String[] args) throws java.io.IOException {
        System.out.print("one\n");
        System.in.read();
        System.out.print("two\n");
    }
}
