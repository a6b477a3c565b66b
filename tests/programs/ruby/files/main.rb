require_relative "tool"
puts twice(21)
