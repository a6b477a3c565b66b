// javac, loaded before its main file is there: `java THIS FIFO javac ARGUMENTS...`.
//
// Compiles a program of its own first, so that the compiler is warm. Then waits until FIFO has been
// written and closed, which says that all files are there, and is what `javac ARGUMENTS...` is.
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;

class Javac {
    static final String PROGRAM = """
        import java.util.*;
        import java.util.function.*;
        import java.util.stream.*;
        public class Main {
            interface Shape { double area(); }
            record Square(double side) implements Shape { public double area() { return side * side; } }
            enum Kind { ONE, TWO }
            static <T extends Comparable<T>> T most(List<T> all) { return all.stream().max(T::compareTo).get(); }
            public static void main(String[] args) throws Exception {
                Map<String, Integer> counts = new HashMap<>();
                for (String word : "a b c a".split(" ")) counts.merge(word, 1, Integer::sum);
                Scanner in = new Scanner(System.in);
                int sum = 0;
                for (int i = 0; i < 10; i++) sum += wrong + i;
                System.out.println(counts + " " + most(List.of(1, 2)) + new Square(sum).area());
                System.out.printf("%s%n", IntStream.range(0, 3).boxed().collect(Collectors.toList()));
                Runnable later = () -> { try { Thread.sleep(1); } catch (InterruptedException e) { } };
                switch (Kind.ONE) { case ONE -> new Thread(later).start(); default -> { } }
            }
        }
        """;

    public static void main(String[] words) throws Exception {
        Files.delete(Path.of("/tmp/Javac.java"));
        // As the launcher of javac has it.
        System.setProperty("application.home", System.getProperty("java.home"));
        Thread.currentThread().setContextClassLoader(ClassLoader.getSystemClassLoader());
        for (int turn = 0; turn < 4; turn++) warm(PROGRAM);
        Files.readAllBytes(Path.of(words[0]));
        com.sun.tools.javac.Main.main(Arrays.copyOfRange(words, 2, words.length));
    }

    static void warm(String program) throws Exception {
        Path folder = Files.createTempDirectory("warm");
        Path file = Files.writeString(folder.resolve("Main.java"), program);
        String[] arguments = {"-d", folder.toString(), file.toString()};
        com.sun.tools.javac.Main.compile(arguments, new PrintWriter(new StringWriter()));
        try (var left = Files.walk(folder)) {
            left.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
    }
}
