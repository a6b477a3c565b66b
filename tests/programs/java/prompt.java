class Main {
    public static void main(String[] args) {
        System.out.print("number? ");
        int number = new java.util.Scanner(System.in).nextInt();
        System.out.println(number * number);
    }
}
