number = IO.gets("number? ") |> String.trim() |> String.to_integer()
IO.puts(number * number)
