"""What a tracer says to people: the next answers of a learner, a learner's page, a page of a class."""
