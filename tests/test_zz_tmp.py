from spacy.tokens import Doc
def test_x(tiny_nlp, tiny_student, lessons):
    for l in lessons:
        d=tiny_nlp(Doc(tiny_nlp.vocab, words=list(l.words)))
        print([(e.text,e.label_) for e in d.ents], [(s.text, s.label_, round(s._.entity_score,3)) for s in d.spans["universal_ner"]])
    d=tiny_nlp("Sally met Alan in Rome. Alan Bean flew from Paris to the moon.")
    print([(e.text,e.label_) for e in d.ents], [(s.text, s.label_, round(s._.entity_score,3)) for s in d.spans["universal_ner"]])
    print(tiny_student.predict(lessons,0.01))
