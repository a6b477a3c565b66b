IO.stream(:stdio, :line) |> Enum.count() |> IO.puts()
