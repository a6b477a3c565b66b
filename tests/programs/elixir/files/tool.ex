defmodule Tool do
  def twice(n), do: 2 * n
end
