import java.io.*;

class Main {
    public static void main(String[] args) throws IOException {
        System.out.println(new BufferedReader(new InputStreamReader(System.in)).lines().count());
    }
}
