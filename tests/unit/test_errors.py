from video_reclaim.errors import naming


def test_a_failure_of_several_names_each_with_its_reason():
    assert naming({3: "gone", 5: "denied"}) == "2 videos failed: 3 (gone), 5 (denied)"


def test_a_failure_of_very_many_names_the_first_twenty():
    text = naming(dict.fromkeys(range(100), "gone"))
    assert text.startswith("100 videos failed: 0 (gone), ")
    assert text.endswith("19 (gone), and 80 more")
